"""What can be done with letters: carry them, and in development read them."""

from dataclasses import dataclass
from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from api.kit import one_time
from api.kit.config import PUBLIC_URL
from api.kit.mail import Carry, Letters, keep, message_of, read_sender, read_transport
from api.kit.service import extension
from api.kit.settings import Setting, Settings

KEPT = 50  # letters that can be read in development


def _default_sender(settings: Settings) -> Address:
    host = urlsplit(settings[PUBLIC_URL]).hostname or "localhost"
    return Address("Tessera", "no-reply", f"[IPv6:{host}]" if ":" in host else host)


MAIL_URL = Setting(
    "MAIL_URL",
    "Where letters go: `console:`, `file:DIR`, `smtp://user:password@host:port` or `smtps://...`.",
    read_transport("console:"),
    read_transport,
    default_text="`console:`",
    secret=True,
    required=True,
)
MAIL_FROM = Setting(
    "MAIL_FROM",
    "Whom letters are from.",
    _default_sender,
    read_sender,
    default_text="`Tessera <no-reply@HOST>`, the host of the public URL",
)
MAIL_TEMPLATES: Setting[Path | None] = Setting(
    "MAIL_TEMPLATES", "Folder of letters that replace ours.", None, Path, default_text="none"
)


@dataclass(frozen=True)
class Post:
    """What writes and carries letters; `kept` is a folder for copies to be read in development."""

    letters: Letters
    carry: Carry
    sender: Address
    kept: Path | None


def deliver(letter_id: UUID, content: dict[str, Any]) -> None:
    """Carry a letter that is owed, unless its token is good no more; raises when it could not be."""
    token = content["values"].get("token")
    if token is not None and one_time.look_at(content["letter"], token) is None:
        return
    post: Post = extension("tessera.post")
    message = message_of(post.letters, letter_id, content, post.sender)
    if post.kept is not None:
        keep(post.kept, message)
    post.carry(message)


def kept_letters() -> list[dict[str, Any]]:
    """Return the letters of late, the newest first; for development alone."""
    folder = extension("tessera.post").kept
    newest = sorted(folder.glob("*.eml"), reverse=True)[:KEPT]
    return [_read(path) for path in newest]


def _read(path: Path) -> dict[str, Any]:
    message = message_from_bytes(path.read_bytes(), _class=EmailMessage, policy=SMTP)
    return {
        "id": UUID(path.stem),
        "to": message["To"],
        "subject": message["Subject"],
        "text": _body(message, "plain"),
        "html": _body(message, "html"),
        "sent_at": message["Date"].datetime,
    }


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()).replace("\r\n", "\n") if isinstance(part, EmailMessage) else ""
