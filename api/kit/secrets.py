"""Keys for many purposes, derived from the service's one secret."""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MINIMUM_LENGTH = 32  # characters; 128 bits of entropy when written in hexadecimal
_EXAMPLES = ("changeme", "change-me", "change_me", "secret", "password", "example", "tessera")


def derive(secret: str, purpose: str, length: int = 32) -> bytes:
    """Return `length` bytes that only this secret and this purpose give (HKDF-SHA256, RFC 5869)."""
    return HKDF(SHA256(), length, salt=None, info=f"tessera/{purpose}".encode()).derive(secret.encode())


class Seal:
    """Encrypts what is kept in the database, by keys of one purpose, the newest first (Fernet)."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._fernet = MultiFernet([Fernet(urlsafe_b64encode(key)) for key in keys])

    def close(self, content: bytes) -> str:
        return self._fernet.encrypt(content).decode()

    def open(self, sealed: str) -> bytes:
        """Return what was sealed; raises ValueError when none of the keys did it."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as error:
            raise ValueError("was not sealed by any of our secrets") from error


def read_secret_keys(value: str) -> tuple[str, ...]:
    """Read one secret or several separated by commas, the newest first.

    Raises ValueError for one that is short, an example, or a repetition of few characters.
    """
    keys = tuple(key.strip() for key in value.split(","))
    for key in keys:
        if len(key) < MINIMUM_LENGTH:
            raise ValueError(f"must have at least {MINIMUM_LENGTH} characters; try: openssl rand -hex 32")
        if len(set(key)) < 8 or any(example in key.lower() for example in _EXAMPLES):
            raise ValueError("is an example or easy to guess; try: openssl rand -hex 32")
    return keys


def kept_secret(folder: Path) -> tuple[str, ...]:
    """Return the secret kept in `folder`, made at first use and readable by its owner only.

    Raises ValueError when what is kept there is no secret.
    """
    path = folder / "secret_key"
    if not path.exists():
        _create_once(path, secrets.token_hex(32))
    return read_secret_keys(path.read_text(encoding="ascii").strip())


def _create_once(path: Path, content: str) -> None:
    """Write a private file whole or not at all; of several at once, the first one stays."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    draft.touch(mode=0o600)
    draft.write_text(content, encoding="ascii")
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
