"""Mail: where it goes, what it says in which language, and what a mail server's answers lead to."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.headerregistry import Address
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from api.app import all_features, create_app
from api.kit import mail, work
from api.kit.db import db
from api.kit.mail import Letters, Transport, message_of, read_link, read_transport
from api.kit.outbox import Owed, Undeliverable
from api.kit.settings import SettingsError
from tests.conftest import MakeApp
from tests.support.clients import client_of, new_details, new_person
from tests.support.commands import tessera_here
from tests.support.mail import Letter, Mailbox, deliver_all, read_letter
from tests.support.ports import free_port
from tests.support.servers import ROOT
from tests.support.smtp import PASSWORD, USER, PostOffice, post_office, self_signed

CANARY = "canary7c1d9e5b"
SENDER = Address("Tessera", "no-reply", "id.example.com")
VALUES = {"name": "Mina", "service": "https://id.example.com", "at": "today"}
LETTERS = sorted(
    {path.name.partition(".")[0]: path.parent for path in ROOT.glob("api/*/letters/[!_]*")}.items()
)

# Settings


@pytest.mark.parametrize(
    ("value", "transport"),
    [
        ("console:", Transport("console")),
        ("file:var/mail", Transport("file", folder=Path("var/mail"))),
        ("file:/srv/mail", Transport("file", folder=Path("/srv/mail"))),
        ("file:///srv/mail", Transport("file", folder=Path("/srv/mail"))),
        ("smtp://mail.example.com", Transport("smtp", "mail.example.com", 587)),
        ("smtps://mail.example.com/", Transport("smtps", "mail.example.com", 465)),
        ("smtp://[::1]:25", Transport("smtp", "::1", 25)),
        ("smtp://me%40a:p%3A%2Fw@h.example:2525", Transport("smtp", "h.example", 2525, "me@a", "p:/w")),
    ],
)
def test_a_mail_url_is_read(value: str, transport: Transport) -> None:
    assert read_transport(value) == transport


@pytest.mark.parametrize(
    "value",
    [
        CANARY,
        f"console:{CANARY}",
        "file:",
        "file://",
        "smtp:",
        "smtp://",
        "smtp://:25",
        f"http://user:{CANARY}@mail.example.com",
        f"smtp://user:{CANARY}@mail.example.com/path",
        f"smtp://user:{CANARY}@mail.example.com?query",
        f"smtp://user:{CANARY}@mail.example.com#fragment",
        f"smtp://user:{CANARY}@mail.example.com:port",
        f"smtp://user:{CANARY}@mail.example.com:99999",
        f"smtp://user:{CANARY}#more@mail.example.com",
        f"smtp://user:{CANARY}/more@mail.example.com",
        f"smtp://user:{CANARY}?more@mail.example.com",
        f"smtp://user:{CANARY}[more@mail.example.com",
        f"smtp://user:{CANARY}@mail\u2100.example.com",
        f"SMTP//user:{CANARY}@mail.example.com",
    ],
)
def test_an_unfit_mail_url_is_refused_and_not_repeated(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        create_app({"TESSERA_DATA_DIR": str(tmp_path), "TESSERA_MAIL_URL": value})
    [error] = refused.value.errors
    assert error == (
        "TESSERA_MAIL_URL: must be console:, file:DIR, smtp://user:password@host:port or smtps://..."
    )


def test_config_hides_the_mail_url(tmp_path: Path) -> None:
    url = f"smtp://user:{CANARY}@mail.example.com"
    ended = tessera_here("config", environ={"TESSERA_DATA_DIR": str(tmp_path), "TESSERA_MAIL_URL": url})
    assert "TESSERA_MAIL_URL = (hidden)" in ended.output
    assert CANARY not in ended.all


def test_a_transport_is_shown_without_its_password() -> None:
    assert CANARY not in repr(read_transport(f"smtp://user:{CANARY}@mail.example.com"))


def test_production_does_not_send_to_the_console(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="TESSERA_MAIL_URL: must reach people in production"):
        create_app(environ | {"TESSERA_MAIL_URL": "console:"})


@pytest.mark.parametrize(
    "value",
    [
        "https://app.example.com/reset",
        "https://app.example.com/reset#token",
        "https://app.example.com/reset?token={token}",
        "https://app.example.com/reset/{token}",
        "javascript:alert(1)#{token}",
        "app.example.com#{token}",
        "#{token}",
    ],
)
def test_a_page_that_would_get_the_token_in_its_address_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="must be the"):
        read_link(value)


def test_the_token_is_in_the_fragment_of_a_link() -> None:
    page = read_link("https://app.example.com/reset?a=b#token={token}")
    assert mail.link(page, "t0ken") == "https://app.example.com/reset?a=b#token=t0ken"


@pytest.mark.parametrize("value", ["nonsense", "Tessera", "a@b@c", "Tessera <no-reply>"])
def test_a_sender_who_cannot_be_one_is_refused_at_the_start(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingsError, match="TESSERA_MAIL_FROM: "):
        create_app({"TESSERA_DATA_DIR": str(tmp_path), "TESSERA_MAIL_FROM": value})


@pytest.mark.parametrize("url", ["http://[::1]:8000", "http://127.0.0.1:8000", "http://localhost"])
def test_every_public_url_has_a_sender(tmp_path: Path, url: str) -> None:
    app = create_app({"TESSERA_DATA_DIR": str(tmp_path), "TESSERA_PUBLIC_URL": url})
    sender = app.extensions["tessera.post"].sender
    assert "no-reply@" in _letter("password_changed", VALUES, sender=sender).message["From"]


# Languages and templates


def _letters(*folders: Path) -> Letters:
    return Letters([*folders, *(feature.letters for feature in all_features().values() if feature.letters)])


def _letter(
    name: str,
    values: dict[str, Any],
    locale: str | None = None,
    to: str = "mina@example.com",
    sender: Address = SENDER,
) -> Letter:
    """Return a letter as it would be read."""
    content = {"letter": name, "to": to, "locale": locale, "values": values}
    return read_letter(bytes(message_of(_letters(), uuid4(), content, sender)))


@pytest.mark.parametrize(
    ("locale", "subject"),
    [
        ("ko", "비밀번호가 변경되었습니다"),
        ("ko-KR", "비밀번호가 변경되었습니다"),
        ("KO-kore-KR", "비밀번호가 변경되었습니다"),
        ("en-GB", "Your password was changed"),
        ("fr", "Your password was changed"),
        ("korean", "Your password was changed"),
        (None, "Your password was changed"),
    ],
)
def test_a_letter_is_in_the_readers_language_or_in_english(locale: str | None, subject: str) -> None:
    assert _letter("password_changed", VALUES, locale).subject == subject


@pytest.mark.parametrize(("name", "folder"), LETTERS)
def test_every_letter_is_there_in_both_languages_and_both_forms(name: str, folder: Path) -> None:
    found = {path.name for path in folder.glob(f"{name}.*")}
    assert found == {f"{name}.{end}" for end in ("en.txt", "en.html", "ko.txt", "ko.html")}


def test_a_letter_that_lacks_a_value_is_not_sent() -> None:
    with pytest.raises(Exception, match="'service' is undefined"):
        _letter("password_changed", {"name": "Mina"})


def test_a_letter_that_there_is_not_is_refused() -> None:
    with pytest.raises(LookupError, match="there is no letter 'nothing'"):
        _letter("nothing", VALUES)


@pytest.mark.parametrize("locale", ["../../etc", "/etc/passwd", "..", "a/../../b"])
def test_a_locale_leads_out_of_no_folder(locale: str) -> None:
    assert _letter("password_changed", VALUES, locale).subject == "Your password was changed"


def test_an_operators_templates_go_first(
    app: Flask, mailbox: Mailbox, make_app: MakeApp, tmp_path: Path
) -> None:
    (tmp_path / "email_verification.en.txt").write_text("Welcome to {{ service }}\n\nToken: {{ token }}\n")
    new_person(app)
    deliver_all(make_app(MAIL_TEMPLATES=str(tmp_path)))
    [letter] = mailbox.new()
    assert letter.subject == "Welcome to https://id.example.com"
    assert letter.text == f"Token: {letter.token}\n"
    assert "<p>" in letter.html  # ours, as there is no other


def test_an_operators_template_may_be_in_another_language(
    app: Flask, mailbox: Mailbox, make_app: MakeApp, tmp_path: Path
) -> None:
    (tmp_path / "email_verification.fr.txt").write_text("Bonjour\n\n{{ token }}\n")
    (tmp_path / "email_verification.fr.html").write_text("<p>{{ token }}</p>")
    new_person(app, locale="fr-FR")
    deliver_all(make_app(MAIL_TEMPLATES=str(tmp_path)))
    assert [letter.subject for letter in mailbox.new()] == ["Bonjour"]


# What is in a message


def test_a_message_has_a_text_and_a_page() -> None:
    letter = _letter("password_changed", VALUES)
    assert letter.message.get_content_type() == "multipart/alternative"
    assert (letter.text.startswith("Hello Mina,"), "<p>Hello Mina,</p>" in letter.html) == (True, True)


def test_a_message_says_that_no_person_wrote_it() -> None:
    assert _letter("password_changed", VALUES).message["Auto-Submitted"] == "auto-generated"


def test_a_message_is_dated() -> None:
    sent_at: datetime = _letter("password_changed", VALUES).message["Date"].datetime
    assert abs(sent_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_message_is_from_whom_the_operator_says(app: Flask, mailbox: Mailbox, make_app: MakeApp) -> None:
    new_person(app)
    deliver_all(make_app(MAIL_FROM='"Konten, Büro" <buero@bücher.example>'))
    [letter] = mailbox.new()
    assert str(letter.message["From"]) == '"Konten, Büro" <buero@xn--bcher-kva.example>'


def test_by_default_a_message_is_from_the_host_of_the_public_url(mailbox: Mailbox, app: Flask) -> None:
    new_person(app)
    assert str(mailbox.only().message["From"]) == str(SENDER)


def test_an_address_in_another_script_is_written_as_mail_servers_read_it() -> None:
    assert _letter("password_changed", VALUES, to="mina@bücher.example").to == "mina@xn--bcher-kva.example"


@pytest.mark.parametrize(
    "to",
    [
        "nowhere",
        "",
        "a@b.example, c@d.example",
        "a@b.example\r\nBcc: x@example.com",
        "a@b.example>, <c@d.example",
    ],
)
def test_a_letter_to_what_is_no_address_is_never_sent(to: str) -> None:
    with pytest.raises(Undeliverable):
        _letter("password_changed", VALUES, to=to)


HOSTILE = [
    "{{7*7}}",
    "{% for x in range(9) %}x{% endfor %}",
    "{{ ''.__class__.__mro__ }}",
    "<b>x</b><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "Mina\u2028Bcc: x@example.com",
    "=?utf-8?q?=0d=0aBcc:_x@example.com?=",
    "x" * 200,
    "\U0001f642" * 200,
    ".",
]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: name[:12])
def test_a_hostile_name_stays_a_name(name: str) -> None:
    letter = _letter("password_changed", VALUES | {"name": name})
    assert letter.text.startswith(f"Hello {name},")
    assert f"<p>Hello {_escaped(name)},</p>" in letter.html
    assert (letter.to, letter.message["Bcc"], letter.message["Cc"]) == ("mina@example.com", None, None)
    assert letter.subject == "Your password was changed"


def _escaped(text: str) -> str:
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;")):
        text = text.replace(character, entity)
    return text


@pytest.mark.parametrize("name", ["Mina\r\nBcc: x@example.com", "Mina\nSubject: x", "\u202eaniM"])
def test_a_name_that_would_break_a_line_cannot_be_had(app: Flask, name: str) -> None:
    answer = client_of(app).post("/v1/users", json=new_details(display_name=name))
    assert answer.status_code == 422


def test_a_subject_of_several_lines_is_one_header(tmp_path: Path) -> None:
    (tmp_path / "hostile.en.txt").write_text("{{ name }}\n\nbody")
    (tmp_path / "hostile.en.html").write_text("body")
    message = _letters(tmp_path).write("hostile", None, {"name": "a\rBcc: x@example.com\x0bb\u2028c"})
    assert read_letter(bytes(message)).subject == "a Bcc: x@example.com b c"
    assert read_letter(bytes(message)).message["Bcc"] is None


# Mail servers

# The server would take a password in the clear: whether one is sent is ours to decide.
IN_THE_CLEAR = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")


@pytest.fixture
def office() -> Iterator[PostOffice]:
    with post_office() as office:
        yield office


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostOffice]:
    """A mail server with STARTTLS and a login, and a certificate that is trusted here."""
    context, certificate = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with post_office(context, login=True) as office:
        yield office


def send(app: Flask, to: str = "mina@example.com") -> str:
    """Owe a letter, let it be tried once, and return its Message-ID."""
    with app.app_context(), work.writing():
        letter_id = mail.post("password_changed", to, None, VALUES)
    assert deliver_all(app) == 1
    return f"<{letter_id}@id.example.com>"


def outcome(app: Flask) -> tuple[str, str] | None:
    """Return ("waits" or "failed", the reason) of the one letter that is owed, or None if there is none."""
    with app.app_context(), work.reading():
        owed = db.session.scalars(sa.select(Owed)).one_or_none()
    if owed is None:
        return None
    return "failed" if owed.failed_at else "waits", str(owed.error).partition(":")[0]


def test_a_letter_reaches_a_mail_server(make_app: MakeApp, office: PostOffice) -> None:
    app = make_app(MAIL_URL=office.url())
    message_id = send(app)
    [letter] = office.letters
    assert (letter.message["Message-ID"], letter.to) == (message_id, "mina@example.com")
    assert (office.recipients, outcome(app)) == (["mina@example.com"], None)


@IN_THE_CLEAR
def test_a_letter_reaches_a_mail_server_over_starttls_with_a_login(
    make_app: MakeApp, tls: PostOffice
) -> None:
    app = make_app(MAIL_URL=tls.url(user=f"{USER}:{PASSWORD}@"))
    send(app)
    assert outcome(app) is None
    assert (len(tls.letters), tls.credentials) == (1, [(USER, "pass:w/ord@")])


def test_a_letter_reaches_a_mail_server_over_smtps(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, certificate = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with post_office(context, implicit=True) as office:
        app = make_app(MAIL_URL=office.url("smtps"))
        send(app)
        assert (len(office.letters), outcome(app)) == (1, None)


@IN_THE_CLEAR
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_mail_server_with_a_certificate_that_nobody_trusts_gets_nothing(
    make_app: MakeApp, tmp_path: Path, scheme: str
) -> None:
    context, _ = self_signed(tmp_path)
    with post_office(context, implicit=scheme == "smtps", login=True) as office:
        app = make_app(MAIL_URL=office.url(scheme, f"{USER}:{PASSWORD}@"))
        send(app)
        assert (office.letters, office.credentials) == ([], [])
    assert outcome(app) == ("waits", "SSLCertVerificationError")


@IN_THE_CLEAR
def test_no_password_is_sent_in_the_clear(make_app: MakeApp) -> None:
    with post_office(login=True) as office:
        app = make_app(MAIL_URL=office.url(user=f"{USER}:{PASSWORD}@"))
        send(app)
        assert (office.letters, office.credentials) == ([], [])
    assert outcome(app) == ("waits", "SMTPNotSupportedError")


@IN_THE_CLEAR
def test_a_wrong_password_waits_for_the_operator(make_app: MakeApp, tls: PostOffice) -> None:
    app = make_app(MAIL_URL=tls.url(user=f"{USER}:{CANARY}@"))
    send(app)
    assert (outcome(app), tls.letters) == (("waits", "SMTPAuthenticationError"), [])


def test_a_mail_server_that_is_not_there_is_tried_again(make_app: MakeApp) -> None:
    app = make_app(MAIL_URL=f"smtp://127.0.0.1:{free_port()}")
    send(app)
    assert outcome(app) == ("waits", "ConnectionRefusedError")


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("recipient", "451 later", ("waits", "SMTPRecipientsRefused")),
        ("recipient", "550 nobody of that name", ("failed", "Undeliverable")),
        ("data", "452 full", ("waits", "SMTPDataError")),
        ("data", "554 spam", ("failed", "Undeliverable")),
    ],
)
def test_what_a_mail_server_refuses_for_now_is_tried_again_and_what_for_good_is_not(
    make_app: MakeApp, office: PostOffice, name: str, answer: str, expected: tuple[str, str]
) -> None:
    setattr(office, name, answer)
    app = make_app(MAIL_URL=office.url())
    send(app)
    assert outcome(app) == expected


def test_a_letter_that_was_accepted_is_not_sent_again_because_the_farewell_fails(
    make_app: MakeApp, office: PostOffice
) -> None:
    office.quit = "421 too busy to say goodbye"
    app = make_app(MAIL_URL=office.url())
    send(app)
    assert (len(office.letters), outcome(app)) == (1, None)


def test_a_letter_has_the_same_id_each_time(make_app: MakeApp, office: PostOffice) -> None:
    office.data = "452 full"
    app = make_app(MAIL_URL=office.url())
    message_id = send(app)
    office.data = "250 OK"
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=10)):
        assert deliver_all(app) == 1
    assert [letter.message["Message-ID"] for letter in office.letters] == [message_id]


# Files and the console


def test_a_letter_is_a_file_of_its_own(mailbox: Mailbox, app: Flask) -> None:
    for _ in range(3):
        new_person(app)
    letters = mailbox.deliver()
    kept = sorted(mailbox.folder.glob("*.eml"))  # beside drafts of whoever was killed while writing one
    assert [path.stem for path in kept] == [letter.id for letter in letters]


def test_a_letter_in_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """A draft that could not be finished is no letter, and the next try replaces it."""
    content = {"letter": "password_changed", "to": "a@example.com", "locale": None, "values": VALUES}
    message = message_of(_letters(), uuid4(), content, SENDER)
    folder = tmp_path / "mail"
    mail.keep(folder, message)
    mail.keep(folder, message)
    [path] = folder.iterdir()
    assert path.read_bytes() == bytes(message)
    assert folder.stat().st_mode & 0o077 == 0


def test_the_console_shows_letters_in_development(
    app: Flask, environ: dict[str, str], make_app: MakeApp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    person = new_person(app)
    deliver_all(make_app(ENV="development", MAIL_URL="console:", DATA_DIR=str(tmp_path)))
    shown = capsys.readouterr().err
    assert f"To: {person.user['email']}\nSubject: Confirm your e-mail address\n" in shown
    assert re.search(r"^  [\w-]{43}$", shown, re.MULTILINE)


# GET /v1/dev/mail


def test_in_development_letters_can_be_read(app: Flask, make_app: MakeApp, tmp_path: Path) -> None:
    developing = make_app(ENV="development", DATA_DIR=str(tmp_path))
    client = client_of(developing)
    assert client.get("/v1/dev/mail").get_json() == {"items": []}
    person = new_person(developing)
    deliver_all(developing)
    [letter] = client.get("/v1/dev/mail").get_json()["items"]
    assert (letter["to"], letter["subject"]) == (person.user["email"], "Confirm your e-mail address")
    assert "Hello" in letter["text"]
    assert "<p>" in letter["html"]


def test_the_newest_letters_are_read_first(app: Flask, make_app: MakeApp, tmp_path: Path) -> None:
    developing = make_app(ENV="development", DATA_DIR=str(tmp_path))
    with developing.app_context(), work.writing():
        for number in range(52):
            mail.post("password_changed", f"user-{number}@example.com", None, VALUES)
    deliver_all(developing)
    items = client_of(developing).get("/v1/dev/mail").get_json()["items"]
    assert [item["to"] for item in items] == [f"user-{number}@example.com" for number in range(51, 1, -1)]


def test_in_production_nobody_reads_letters_over_http(app: Flask) -> None:
    assert client_of(app).get("/v1/dev/mail").status_code == 404


def test_the_contract_has_no_helper_of_development(app: Flask) -> None:
    assert "/v1/dev/mail" not in client_of(app).get("/openapi.json").get_json()["paths"]
    assert "/v1/dev/mail" not in (ROOT / "openapi.yaml").read_text(encoding="utf-8")
