"""A real mail server in a thread, that answers as it is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any
from urllib.parse import unquote

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.mail import Letter, read_letter
from tests.support.ports import free_port

ACCEPTED = "250 OK"
USER, PASSWORD = "tessera", "pass%3Aw%2Ford%40"  # as a URL has them


@dataclass
class PostOffice:
    """A mail server in a thread of this process: what it answers, and what it was sent."""

    recipient: str = ACCEPTED
    data: str = ACCEPTED
    quit: str = "221 Bye"
    port: int = 0
    letters: list[Letter] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    credentials: list[tuple[str, str]] = field(default_factory=list)

    def url(self, scheme: str = "smtp", user: str = "") -> str:
        return f"{scheme}://{user}127.0.0.1:{self.port}"

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.recipient == ACCEPTED:
            envelope.rcpt_tos.append(address)
        return self.recipient

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        if self.data == ACCEPTED:
            assert isinstance(envelope.content, bytes)
            self.letters.append(read_letter(envelope.content))
            self.recipients += envelope.rcpt_tos
        return self.data

    async def handle_QUIT(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, _envelope: Envelope
    ) -> str:
        return self.quit

    def authenticate(self, *args: Any) -> AuthResult:
        given: LoginPassword = args[-1]
        self.credentials.append((given.login.decode(), given.password.decode()))
        return AuthResult(success=self.credentials[-1] == (USER, unquote(PASSWORD)), handled=False)


@contextmanager
def post_office(
    tls: SSLContext | None = None, *, implicit: bool = False, login: bool = False
) -> Iterator[PostOffice]:
    """Run a mail server: with STARTTLS or `implicit` TLS if it has a context, and a login if told so."""
    office = PostOffice(port=free_port())
    kwargs: dict[str, Any] = {"ssl_context" if implicit else "tls_context": tls, "decode_data": False}
    if login:
        kwargs |= {"authenticator": office.authenticate, "auth_required": True, "auth_require_tls": False}
    controller = Controller(office, hostname="127.0.0.1", port=office.port, **kwargs)
    controller.start()
    try:
        yield office
    finally:
        controller.stop()


def self_signed(folder: Path) -> tuple[SSLContext, Path]:
    """Return the context of a server with a certificate of its own for 127.0.0.1, and the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(plain)
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context, folder / "certificate.pem"
