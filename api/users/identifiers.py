"""Usernames, addresses and passwords in the form in which they are compared."""

import unicodedata
from collections.abc import Callable

from email_validator import EmailNotValidError, validate_email
from precis_i18n import get_profile

from api.kit.problems import FieldError, ValidationFailed
from schemas.base import CHARACTERS, Message
from schemas.users import EMAIL_MAXIMUM, USERNAME_MAXIMUM

PASSWORD_BYTES = 1024
_USERNAME = get_profile("UsernameCaseMapped")  # RFC 8265 section 3.3
_PASSWORD = get_profile("OpaqueString")  # RFC 8265 section 4.2
_NO_USERNAME = Message("invalid_username", "Must be a name of letters and digits, without spaces or @.")
_NO_EMAIL = Message("invalid_email", "Must be an e-mail address.")
_TOO_LONG = Message("too_long", "Is too long once it is normalised.")


class Unfit(Exception):
    """An identifier that cannot be one, and why."""

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self.message = message


def columns(**given: str) -> dict[str, str]:
    """Return `username`, `email` and `password` as they are stored, with their keys.

    Raises ValidationFailed, naming all that are unfit.
    """
    stored: dict[str, str] = {}
    errors: list[FieldError] = []
    for name, value in given.items():
        try:
            stored |= _NORMALISE[name](value)
        except Unfit as unfit:
            errors.append(FieldError(unfit.message.code, unfit.message, pointer=f"/{name}"))
    if errors:
        raise ValidationFailed(errors)
    return stored


def key_of(identifier: str) -> tuple[str, str] | None:
    """Return (column, value) to look an identifier up by, or None when nobody can have it."""
    name = "email" if "@" in identifier else "username"
    try:
        return f"{name}_key", _NORMALISE[name](identifier)[f"{name}_key"]
    except Unfit:
        return None


def comparable_password(password: str) -> str | None:
    """Return the form of a password that is hashed, or None when it can be nobody's."""
    try:
        return _password(password)["password"]
    except Unfit:
        return None


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
    try:
        address = validate_email(email, check_deliverability=False)
    except EmailNotValidError as error:
        raise Unfit(_NO_EMAIL) from error
    local = unicodedata.normalize("NFC", address.local_part.casefold())
    key = f"{local}@{(address.ascii_domain or '').lower()}"
    if max(len(address.normalized), len(key)) > EMAIL_MAXIMUM:
        raise Unfit(_TOO_LONG)
    return {"email": address.normalized, "email_key": key}


def _password(password: str) -> dict[str, str]:
    try:
        comparable = _PASSWORD.enforce(password)
    except UnicodeEncodeError as error:
        raise Unfit(CHARACTERS) from error
    if len(comparable.encode()) > PASSWORD_BYTES:
        raise Unfit(Message("too_long", f"Must have at most {PASSWORD_BYTES} bytes."))
    return {"password": comparable}


_NORMALISE: dict[str, Callable[[str], dict[str, str]]] = {
    "username": _username,
    "email": _email,
    "password": _password,
}
