"""Peppers: secrets that are mixed into passwords before hashing, and are never kept in the database."""

import hmac
from base64 import b64encode
from collections.abc import Sequence

from api.kit.secrets import derive, read_secret_keys
from api.kit.settings import Setting

PEPPER: Setting[tuple[str, ...]] = Setting(
    "PEPPER",
    "A secret without which no password hash can be tried, at least 32 characters; several, separated "
    "by commas and the newest first, to rotate.",
    (),
    read_secret_keys,
    default_text="none",
    secret=True,
)


class Peppers:
    """The service's peppers, the newest first, by ids that tell nothing about them.

    With none, passwords are hashed as they are: None is the id of that.
    """

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        self._keys = {_id_of(secret): derive(secret, "pepper") for secret in secrets}

    @property
    def newest(self) -> str | None:
        return next(iter(self._keys), None)

    def knows(self, key_id: str | None) -> bool:
        return key_id is None or key_id in self._keys

    def mix(self, password: str, key_id: str | None) -> bytes:
        """Return what is hashed in the password's place (HMAC-SHA256)."""
        content = password.encode()
        return content if key_id is None else hmac.digest(self._keys[key_id], content, "sha256")


def _id_of(secret: str) -> str:
    """Return 8 characters: a `keyid` of the PHC string format has at most 11."""
    return b64encode(derive(secret, "pepper id", 6)).decode()
