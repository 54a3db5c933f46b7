"""Mail: letters made from templates, owed by the outbox, and carried by one of several transports."""

import os
import re
import smtplib
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.errors import MessageError
from email.headerregistry import Address, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateNotFound,
    select_autoescape,
)

from api.kit import attempts, clock
from api.kit.languages import ENGLISH, candidates
from api.kit.outbox import Undeliverable, owe
from api.kit.service import setting
from api.kit.settings import Limit, Setting, limit

KIND = "mail"  # in the outbox
MAIL_LIMIT = Setting(
    "MAIL_LIMIT",
    "Letters of one kind that one address gets at most, whoever asks for them.",
    Limit(5, 3600),
    limit,
)
STEP_SECONDS = 10  # that a mail server may take for one of ten steps: all within the outbox's lease
_PORTS = {"smtp": 587, "smtps": 465}
Carry = Callable[[EmailMessage], None]


@dataclass(frozen=True)
class Transport:
    """Where letters go: a `TESSERA_MAIL_URL` in its parts."""

    scheme: str
    host: str = ""
    port: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    folder: Path = Path()


def read_transport(value: str) -> Transport:
    """Read `console:`, `file:DIR`, `smtp://user:password@host:port` or `smtps://...`; raises ValueError."""
    scheme, _, rest = value.partition(":")
    folder = rest.removeprefix("//")
    if scheme == "console" and not rest:
        return Transport(scheme)
    if scheme == "file" and folder:
        return Transport(scheme, folder=Path(folder))
    try:
        return _read_server(value)
    except ValueError:  # whose message may hold the password
        unfit = "must be console:, file:DIR, smtp://user:password@host:port or smtps://..."
        raise ValueError(unfit) from None


def _read_server(value: str) -> Transport:
    url = urlsplit(value)
    if url.scheme not in _PORTS or not url.hostname or url.path.strip("/") or url.query or url.fragment:
        raise ValueError("is not the URL of a mail server")
    port = url.port or _PORTS[url.scheme]
    return Transport(url.scheme, url.hostname, port, unquote(url.username or ""), unquote(url.password or ""))


def read_sender(value: str) -> Address:
    """Read `Name <user@host>`, or an address alone; raises ValueError."""
    name, address = parseaddr(value)
    local, _, domain = address.rpartition("@")
    try:
        if not re.fullmatch(r"[!-~]+@[^\s@]+", address) or "@" in local:
            raise ValueError("is not an address")
        return Address(name, local, domain.encode("idna").decode())
    except (MessageError, ValueError):
        raise ValueError("must be an address such as Tessera <no-reply@example.com>") from None


def carrier(transport: Transport) -> Carry:
    """Return what carries a message by this transport; it raises when it could not."""
    if transport.scheme == "console":
        return _print
    if transport.scheme == "file":
        return lambda message: keep(transport.folder, message)
    return lambda message: _send(transport, message)


class _Headers(HeaderRegistry):
    """The kinds of headers, each made once: the library's own makes a class for every header it writes."""

    @cache  # noqa: B019  # there is one, for as long as the process lives
    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name)


_POLICY = SMTP.clone(header_factory=_Headers())


class Letters:
    """The templates of letters, in languages; an operator's own go before those of features.

    A letter `name` is `name.en.txt`, whose first line is the subject, and `name.en.html`.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        loader = ChoiceLoader([FileSystemLoader(folder) for folder in folders])
        self._environment = Environment(
            loader=loader,
            undefined=StrictUndefined,
            autoescape=select_autoescape(("html",)),
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def write(self, name: str, locale: str | None, values: Mapping[str, Any]) -> EmailMessage:
        """Return a letter without its addresses, in the reader's language if there is one such."""
        for language in (*candidates(locale or ENGLISH), ENGLISH):
            with suppress(TemplateNotFound):
                return self._write(f"{name}.{language}", values)
        raise LookupError(f"there is no letter {name!r}")

    def _write(self, name: str, values: Mapping[str, Any]) -> EmailMessage:
        text = self._environment.get_template(f"{name}.txt").render(values)
        html = self._environment.get_template(f"{name}.html").render(values)
        subject, _, body = text.partition("\n")
        message = EmailMessage(policy=_POLICY)
        message["Subject"] = _line(subject)
        message.set_content(body.lstrip("\n"))
        message.add_alternative(html, subtype="html")
        return message


def post(
    letter: str, to: str, locale: str | None, values: Mapping[str, Any], about: UUID | None = None
) -> UUID:
    """Owe somebody a letter, about a user, if the current unit of work commits; return its id."""
    return owe(KIND, {"letter": letter, "to": to, "locale": locale, "values": dict(values)}, about)


def may_be_asked_for(letter: str, to: str) -> bool:
    """Count a letter that anybody can have sent to an address, and tell whether it may be written."""
    return attempts.is_within(setting(MAIL_LIMIT), "letter", letter, to.casefold())


def read_link(value: str) -> str:
    """Read the URL of a page with `{token}` in its fragment, which no server and no log sees."""
    page, sign, fragment = value.partition("#")
    if not re.fullmatch(r"https?://[^\s#]+", page) or not sign or "{token}" not in fragment:
        raise ValueError("must be the http(s) URL of a page, with # and {token} behind it")
    return value


def link(page: str, token: str) -> str:
    """Return the link to a page of the frontend; none without such a page."""
    return page.replace("{token}", token)


def lifetime(seconds: int) -> dict[str, Any]:
    """Return `amount` and `unit` of a time, as a letter says it: 10 minutes, 24 hours, 7 days."""
    for unit, size in (("days", 86400), ("hours", 3600)):
        if seconds % size == 0 and seconds > size:
            return {"amount": seconds // size, "unit": unit}
    return {"amount": seconds // 60, "unit": "minutes"}


def message_of(
    letters: Letters, letter_id: UUID, content: Mapping[str, Any], sender: Address
) -> EmailMessage:
    """Return the message of a letter that is owed; the same letter has the same Message-ID each time.

    Raises Undeliverable when it is to nobody.
    """
    message = letters.write(content["letter"], content["locale"], content["values"])
    message["From"] = sender
    message["To"] = _recipient(content["to"])
    message["Date"] = format_datetime(clock.now())
    message["Message-ID"] = f"<{letter_id}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notes in return
    return message


def _recipient(address: str) -> Address:
    try:
        found = validate_email(address, check_deliverability=False)
        return Address(addr_spec=found.ascii_email or found.normalized)
    except (EmailNotValidError, MessageError, ValueError) as error:
        raise Undeliverable("the address is none") from error


def _line(text: str) -> str:
    """Return a text as one line: a header that had two would be two headers."""
    return re.sub(r"\s+", " ", text).strip()


def _print(message: EmailMessage) -> None:
    """Show a letter to whoever started the service in a terminal."""
    text = message.get_body(("plain",))
    body = text.get_content() if isinstance(text, EmailMessage) else ""
    rule = "-" * 72
    with suppress(OSError, ValueError):  # nobody reads it any more
        sys.stderr.write(f"{rule}\nTo: {message['To']}\nSubject: {message['Subject']}\n\n{body}{rule}\n")
        sys.stderr.flush()


def keep(folder: Path, message: EmailMessage) -> None:
    """Write a letter to a file of its own, whole or not at all; a repetition replaces it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = message["Message-ID"].strip("<>").partition("@")[0]
    draft = folder / f".{name}.{os.getpid()}"
    draft.write_bytes(bytes(message))
    draft.replace(folder / f"{name}.eml")


def _send(transport: Transport, message: EmailMessage) -> None:
    """Hand a letter to a mail server; raises Undeliverable for what it refuses for good."""
    with _connected(transport) as server:
        if transport.username:
            server.login(transport.username, transport.password)
        try:
            server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            _judge(error, [code for code, _ in error.recipients.values()])
        except smtplib.SMTPDataError as error:
            _judge(error, [error.smtp_code])


@contextmanager
def _connected(transport: Transport) -> Iterator[smtplib.SMTP]:
    """Give a connection that is safe; how it ends is nothing to what was accepted before.

    Raises SMTPNotSupportedError when the server offers no TLS and a password would be sent in the clear.
    """
    where = transport.host, transport.port
    if transport.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            *where, timeout=STEP_SECONDS, context=ssl.create_default_context()
        )
    else:
        server = smtplib.SMTP(*where, timeout=STEP_SECONDS)
    try:
        if transport.scheme == "smtp":
            _secure(server, is_needed=bool(transport.username))
        yield server
        with suppress(smtplib.SMTPException, OSError):
            server.quit()
    finally:
        server.close()


def _secure(server: smtplib.SMTP, *, is_needed: bool) -> None:
    """Change to TLS if the server offers it."""
    server.ehlo()
    if server.has_extn("starttls"):
        server.starttls(context=ssl.create_default_context())
    elif is_needed:
        raise smtplib.SMTPNotSupportedError("the server offers no TLS, so the password is not sent")


def _judge(error: smtplib.SMTPException, codes: Iterable[int]) -> None:
    """Raise the error, or Undeliverable when trying again is of no use (RFC 5321 section 4.2.1)."""
    if all(500 <= code < 600 for code in codes):
        raise Undeliverable(str(error)) from error
    raise error
