"""Letters: what is owed is delivered when a test says so, and read as whoever got it would."""

import re
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from uuid import UUID

from flask import Flask

from api.kit import one_time, work
from api.kit.outbox import Courier
from api.mail.service import MAIL_URL
from tests.support.clients import Person
from tests.support.watching import user_row

TOKEN = re.compile(r"(?<![\w-])[\w-]{43}(?![\w-])", re.ASCII)  # 32 bytes in base64url


@dataclass(frozen=True)
class Letter:
    """A letter as it was carried."""

    message: EmailMessage

    @property
    def id(self) -> str:
        return str(self.message["Message-ID"]).strip("<>").partition("@")[0]

    @property
    def to(self) -> str:
        return str(self.message["To"])

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        return self._body("plain")

    @property
    def html(self) -> str:
        return self._body("html")

    @property
    def token(self) -> str:
        """The one token in it; fails when there is none, or more."""
        [token] = set(TOKEN.findall(self.text))
        return str(token)

    def _body(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        assert isinstance(part, EmailMessage)
        return str(part.get_content()).replace("\r\n", "\n")


class Mailbox:
    """The folder that an app's letters go to, emptied at first."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self.folder: Path = app.extensions["tessera"].settings[MAIL_URL].folder
        self._read: set[str] = set()
        for path in self.folder.glob("*.eml"):
            path.unlink()

    def deliver(self) -> list[Letter]:
        """Deliver all that is owed and due, and return the letters that came of it, the oldest first."""
        deliver_all(self._app)
        return self.new()

    def new(self) -> list[Letter]:
        """Return the letters that were carried since the last look."""
        letters = [letter for letter in read_letters(self.folder) if letter.id not in self._read]
        self._read |= {letter.id for letter in letters}
        return letters

    def only(self) -> Letter:
        """Deliver what is owed: one letter."""
        [letter] = self.deliver()
        return letter


def deliver_all(app: Flask) -> int:
    """Let an app's courier deliver until there is nothing due, and return how many it tried."""
    courier: Courier = app.extensions["tessera.courier"]
    tried = 0
    while courier.deliver_next():
        tried += 1
    return tried


def read_letters(folder: Path) -> list[Letter]:
    """Return the letters in a folder, the oldest first."""
    return [read_letter(path.read_bytes()) for path in sorted(folder.glob("*.eml"))]


def read_letter(content: bytes) -> Letter:
    return Letter(message_from_bytes(content, _class=EmailMessage, policy=SMTP))


def one_time_token(person: Person, purpose: str, seconds: int = 3600) -> str:
    """Return a new token of a person, as if a letter to their address had brought it."""
    app = person.client.application
    key = user_row(app, person.id).email_key
    assert key is not None
    with app.app_context(), work.writing():
        return one_time.issue(purpose, UUID(person.id), key, seconds)
