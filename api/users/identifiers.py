"""Usernames, addresses and passwords in the form in which they are compared."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email
from marshmallow import ValidationError
from precis_i18n import get_profile

from api.kit.config import PUBLIC_URL, SERVICE_NAME
from api.kit.hashing import comparable_password
from api.kit.password_lists import PasswordList
from api.kit.problems import FieldError, ValidationFailed
from api.kit.service import extension, setting
from schemas.base import CHARACTERS, UNSTORABLE, Message, Request
from schemas.users import EMAIL_MAXIMUM, PASSWORD_BYTES, PASSWORD_MINIMUM, USERNAME_MAXIMUM

NAME_MINIMUM = 4  # characters: shorter names stand in too many passwords by chance
LOCAL_PART_BYTES = 64  # RFC 5321 section 4.5.3.1.1
_USERNAME = get_profile("UsernameCaseMapped")  # RFC 8265 section 3.3
_NO_USERNAME = Message("invalid_username", "Must be a name of letters and digits, without spaces or @.")
_NO_EMAIL = Message("invalid_email", "Must be an e-mail address.")
TOO_COMMON = Message("password_too_common", "Is known to attackers, who try it first: choose another.")
CONTAINS_NAME = Message(
    "password_contains_name", "May not contain the username, the e-mail address or the name of the service."
)
_TOO_LONG = Message("too_long", "Is too long once it is normalised.")
# Characters that nobody sees: Default_Ignorable_Code_Point of the Unicode character database.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)


class Unfit(ValidationError):
    """An identifier or password that cannot be one, and why."""

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self.message = message


def judge(schema: Request) -> Request:
    """Let the schema refuse what is unfit, together with everything else that it refuses."""
    for name, normalise in _NORMALISE.items():
        if name in schema.fields:
            schema.fields[name].validators.append(normalise)
    schema.rules.append(_refuse_names)
    return schema


def columns(**given: str) -> dict[str, str]:
    """Return `username`, `email` and `password` as they are stored, with their keys.

    A password may also be given as `new_password`.

    Raises ValidationFailed, naming all that are unfit.
    """
    stored: dict[str, str] = {}
    errors: list[FieldError] = []
    for name, value in given.items():
        try:
            stored |= _NORMALISE[name](value)
        except Unfit as unfit:
            errors.append(FieldError(unfit.message.code, unfit.message, pointer=f"/{name}"))
    if "password" in stored and contains_name(stored["password"], given.get("username"), given.get("email")):
        pointer = "/password" if "password" in given else "/new_password"
        errors.append(FieldError(CONTAINS_NAME.code, CONTAINS_NAME, pointer=pointer))
    if errors:
        raise ValidationFailed(errors)
    return stored


def contains_name(password: str, username: str | None, email: str | None) -> bool:
    """Tell whether a password holds one of its user's names, or the service's."""
    names = (username or "", (email or "").rpartition("@")[0], *service_names(setting(PUBLIC_URL)))
    within = _loose(password)
    return any(len(name) >= NAME_MINIMUM and name in within for name in map(_loose, names))


def service_names(public_url: str) -> list[str]:
    """Return what people may call the service: its name, and of `id.shop.co.uk` the `shop`."""
    host = urlsplit(public_url).hostname or ""
    labels = re.findall("[a-z][a-z0-9-]*", host.rpartition(".")[0])
    domain = [label for label in labels if len(label) >= NAME_MINIMUM][-1:]
    return sorted({SERVICE_NAME.lower(), *domain})


def key_of(identifier: str) -> tuple[str, str] | None:
    """Return (column, value) to look an identifier up by, or None when nobody can have it."""
    name = "email" if "@" in identifier else "username"
    try:
        return f"{name}_key", _NORMALISE[name](identifier)[f"{name}_key"]
    except Unfit:
        return None


def subject_of(identifier: str) -> str:
    """Return what attempts to sign in with an identifier are counted by, whether or not anybody has it.

    Those that nobody can have are counted together.
    """
    return subject(*(key_of(identifier) or ("nobody", "")))


def subject(column: str, key: str) -> str:
    """Return what attempts are counted by for what a column identifies."""
    return f"{column}:{key}"


def _refuse_names(given: Mapping[str, Any]) -> None:
    for name in ("password", "new_password"):
        if name in given and contains_name(given[name], given.get("username"), given.get("email")):
            raise ValidationError(CONTAINS_NAME, name)


def _loose(text: str) -> str:
    """Return a text as people who look for it would compare it: whatever its case or width."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _username(username: str) -> dict[str, str]:
    shown = unicodedata.normalize("NFC", username)
    try:
        key = _USERNAME.enforce(username)
    except UnicodeEncodeError as error:
        raise Unfit(_NO_USERNAME) from error
    if "@" in key:
        raise Unfit(_NO_USERNAME)
    if max(len(shown), len(key)) > USERNAME_MAXIMUM:
        raise Unfit(_TOO_LONG)
    return {"username": shown, "username_key": key}


def _email(email: str) -> dict[str, str]:
    """Return an address and its key; what only looks like one (a full-width dot) is none."""
    composed = unicodedata.normalize("NFC", email)
    seems = unicodedata.normalize("NFKC", email).replace("\u3002", ".")  # as IDNA takes that stop
    if _INVISIBLE.search(email) or seems != composed:
        raise Unfit(_NO_EMAIL)
    try:
        address = validate_email(email, check_deliverability=False)
    except EmailNotValidError as error:
        raise Unfit(_NO_EMAIL) from error
    local = unicodedata.normalize("NFC", address.local_part.casefold())
    key = f"{local}@{(address.ascii_domain or '').lower()}"
    if len(address.local_part.encode()) > LOCAL_PART_BYTES:
        raise Unfit(_NO_EMAIL)
    if max(len(address.normalized), len(key)) > EMAIL_MAXIMUM:
        raise Unfit(_TOO_LONG)
    return {"email": address.normalized, "email_key": key}


def _password(password: str) -> dict[str, str]:
    if UNSTORABLE.search(password):
        raise Unfit(CHARACTERS)
    comparable = comparable_password(password)
    if len(comparable) < PASSWORD_MINIMUM:
        raise Unfit(Message("too_short", f"Must have at least {PASSWORD_MINIMUM} characters."))
    if len(comparable.encode()) > PASSWORD_BYTES:
        raise Unfit(Message("too_long", f"Must have at most {PASSWORD_BYTES} bytes."))
    lists: tuple[PasswordList, ...] = extension("tessera.password_lists")
    if any(comparable in known for known in lists):
        raise Unfit(TOO_COMMON)
    return {"password": comparable}


_NORMALISE: dict[str, Callable[[str], dict[str, str]]] = {
    "username": _username,
    "email": _email,
    "password": _password,
    "new_password": _password,
}
