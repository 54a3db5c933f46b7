"""Usernames, addresses and passwords in the form in which they are compared."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email
from marshmallow import ValidationError
from precis_i18n import get_profile

from api.kit.config import PUBLIC_URL, SERVICE_NAME
from api.kit.hashing import comparable_password
from api.kit.look_alikes import skeleton
from api.kit.password_lists import PasswordList
from api.kit.problems import FieldError, ValidationFailed
from api.kit.service import extension, setting
from api.kit.settings import Setting, words
from schemas.base import CHARACTERS, UNSTORABLE, Request
from schemas.messages import Message
from schemas.users import (
    EMAIL_MAXIMUM,
    PASSWORD_BYTES,
    PASSWORD_MINIMUM,
    SKELETON_MAXIMUM,
    USERNAME_MAXIMUM,
)

NAME_MINIMUM = 4  # characters: shorter names stand in too many passwords by chance
LOCAL_PART_BYTES = 64  # RFC 5321 section 4.5.3.1.1
_USERNAME = get_profile("UsernameCaseMapped")  # RFC 8265 section 3.3
_PLAIN_USERNAME = re.compile(f"[!-?A-~]{{1,{USERNAME_MAXIMUM}}}")  # ASCII that is seen, less the @
# Letters of which PRECIS does no more than to lower the case: Latin, Cyrillic, Hangul, Hiragana, Han.
_SIMPLE_USERNAME = re.compile(
    "[!-?A-~\u00c0-\u00d6\u00d8-\u00de\u00e0-\u00f6\u00f8-\u00ff\u0410-\u044f\u0401\u0451"
    "\uac00-\ud7a3\u3041-\u3096\u4e00-\u9fff]{1,40}"
)
_PLAIN_EMAIL = re.compile(
    r"(?=[^@]{1,64}@.{1,180}\Z)[a-z0-9]+(?:[._+-][a-z0-9]+){0,9}@(?P<domain>[a-z0-9.-]+)"
)
_NO_USERNAME = Message("invalid_username", "Must be a name of letters and digits, without spaces or @.")
_NO_EMAIL = Message("invalid_email", "Must be an e-mail address.")
TOO_COMMON = Message("password_too_common", "Is known to attackers, who try it first: choose another.")
CONTAINS_NAME = Message(
    "password_contains_name", "May not contain the username, the e-mail address or the name of the service."
)
RESERVED = Message("username_reserved", "Is reserved, or looks like a name that is: choose another.")
_TOO_LONG = Message("too_long", "Is too long once it is normalised.")
_TOO_SHORT = Message("too_short", "Must have at least {minimum} characters.", minimum=PASSWORD_MINIMUM)
_TOO_MANY_BYTES = Message("too_long", "Must have at most {maximum} bytes.", maximum=PASSWORD_BYTES)
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


def _reserved(value: str) -> tuple[str, ...]:
    """Read usernames separated by commas, as what looks like them is compared."""
    return tuple(map(skeleton, words(value)))


# The mailboxes of RFC 2142, whom people take for those who run a service, and words of our own paths.
_RESERVED = (
    "abuse, admin, administrator, anonymous, api, contact, everyone, guest, help, hostmaster, info, "
    "marketing, me, moderator, no-reply, nobody, noc, noreply, null, official, owner, postmaster, root, "
    "sales, security, staff, superuser, support, sysadmin, system, undefined, webmaster"
)
RESERVED_USERNAMES: Setting[tuple[str, ...]] = Setting(
    "RESERVED_USERNAMES",
    "Usernames that only administrators give, and whatever looks like them, separated by commas; a comma "
    "alone reserves none.",
    words(_RESERVED),
    _reserved,
    default_text=f"`{_RESERVED}`",
)


def judge(schema: Request, **more: Callable[[str], object]) -> Request:
    """Let the schema refuse what is unfit, together with everything else that it refuses.

    `more` are further judges of fields, by the field's name, that raise Unfit.
    """
    for name, judge_field in [*_NORMALISE.items(), *more.items()]:
        if name in schema.fields:  # whose list of validators all schemas of the class share
            schema.fields[name].validators = [*schema.fields[name].validators, judge_field]
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
            errors.append(FieldError(unfit.message, pointer=f"/{name}"))
    if "password" in stored and contains_name(stored["password"], given.get("username"), given.get("email")):
        pointer = "/password" if "password" in given else "/new_password"
        errors.append(FieldError(CONTAINS_NAME, pointer=pointer))
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


def refuse_reserved(username: str) -> None:
    """Raise Unfit for a username that only administrators give."""
    if skeleton(username) in setting(RESERVED_USERNAMES):
        raise Unfit(RESERVED)


def key_of(identifier: str) -> tuple[str, str] | None:
    """Return (column, value) to look an identifier up by, or None when nobody can have it."""
    name = "email" if "@" in identifier else "username"
    key = comparable(name, identifier)
    return None if key is None else (f"{name}_key", key)


def comparable(name: str, value: str) -> str | None:
    """Return the key of a `username` or `email`, or None when nobody can have it."""
    try:
        return _NORMALISE[name](value)[f"{name}_key"]
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
    """Return a name with its key and skeleton; those of plain ASCII, and some keys, need no tables."""
    if _PLAIN_USERNAME.fullmatch(username):
        key = username.lower()
        return {"username": username, "username_key": key, "username_skeleton": key}
    if _SIMPLE_USERNAME.fullmatch(username) and len(seen := skeleton(username)) <= SKELETON_MAXIMUM:
        return {"username": username, "username_key": username.lower(), "username_skeleton": seen}
    shown = unicodedata.normalize("NFC", username)
    try:
        key = _USERNAME.enforce(username)
    except UnicodeEncodeError as error:
        raise Unfit(_NO_USERNAME) from error
    if "@" in key:
        raise Unfit(_NO_USERNAME)
    seen = skeleton(shown)
    if max(len(shown), len(key)) > USERNAME_MAXIMUM or len(seen) > SKELETON_MAXIMUM:
        raise Unfit(_TOO_LONG)
    return {"username": shown, "username_key": key, "username_skeleton": seen}


def _email(email: str) -> dict[str, str]:
    """Return an address and its key; what only looks like one (a full-width dot) is none.

    Of a plain one the domain alone is judged by all rules, and remembered: many addresses share it.
    """
    if (plain := _PLAIN_EMAIL.fullmatch(email)) and _is_plain_domain(plain["domain"]):
        return {"email": email, "email_key": email}
    return _any_email(email)


@lru_cache(maxsize=4096)
def _is_plain_domain(domain: str) -> bool:
    """Tell whether addresses of the domain are good, and stored as they are given."""
    address = f"a@{domain}"
    try:
        return _any_email(address) == {"email": address, "email_key": address}
    except Unfit:
        return False


def _any_email(email: str) -> dict[str, str]:
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
        raise Unfit(_TOO_SHORT)
    if len(comparable.encode()) > PASSWORD_BYTES:
        raise Unfit(_TOO_MANY_BYTES)
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
