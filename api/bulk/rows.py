"""Rows of an import, judged as a sign-up is, and the columns that users get from them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from marshmallow import ValidationError

from api.kit.hashing import hasher
from api.kit.ids import new_id
from api.kit.problems import FieldError, ValidationFailed
from api.kit.searching import searchable
from api.kit.validation import reference_token
from api.users import identifiers
from api.users.models import ACTIVE, DELETED, NO_PASSWORD, SUSPENDED
from api.users.service import NOTHING_PENDING
from api.users.standing import NOT_SUSPENDED
from schemas.base import CANONICAL_UUID, UNKNOWN, Matching, Text
from schemas.bulk import UserRow
from schemas.messages import Message

ERRORS_PER_ROW = 20  # that are told
BOTH_GIVEN = Message("both_given", "May not come with a password.")
MAY_NOT_GRANT = Message("may_not_grant", "Only who has every permission may give roles.")
UNKNOWN_ROLE = Message("unknown_role", "Is no role that there is.")
NOT_DELETED = Message("not_deleted", "Belongs to the status `deleted` alone.")

# Members that null takes away from a user; null is as good as absent for all others.
_REMOVABLE = {
    "username": ("username", "username_key", "username_skeleton"),
    "email": ("email", "email_key"),
    "pending_email": ("pending_email", "pending_email_key"),
    "display_name": ("display_name",),
    "locale": ("locale",),
    "last_seen_at": ("last_seen_at",),
    "deleted_at": ("deleted_at",),
    "suspended_at": ("suspended_at",),
    "suspended_until": ("suspended_until",),
    "suspension_reason": ("suspension_reason",),
}
_FIELDS = {field.data_key or name: field for name, field in UserRow().fields.items()}
MEMBERS = frozenset(_FIELDS)
_is_id = re.compile(CANONICAL_UUID).fullmatch
_is_instant = re.compile(r"[0-9]{4}(-[0-9]{2}){2}T([0-9]{2}:){2}[0-9]{2}\.[0-9]{6}Z").fullmatch
_OTHER_COLUMNS = {"metadata": "user_metadata"}  # where the column is named otherwise than the member


@dataclass(slots=True)
class Row:
    """What a row says of a user: the columns that it gives, and a password that is yet to be hashed."""

    line: int
    columns: dict[str, Any]
    password: str | None = None


@dataclass(slots=True)
class Refused:
    """A row that is left out, and why."""

    line: int
    errors: list[FieldError]


def judged(values: Mapping[str, Any], line: int, *, grantable: frozenset[str]) -> Row | Refused:
    """Return what a row says, or what is wrong with it; `grantable` are the roles to give."""
    given: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, value in values.items():
        if len(errors) >= ERRORS_PER_ROW:
            break
        if value is None:
            _take_away(name, given, errors)
            continue
        try:
            given[name] = _loaded(name, value)
        except ValidationError as unfit:
            errors += _field_errors(reference_token(name), unfit.messages)
    columns, password = _columns_of(given, errors, grantable)
    return Refused(line, errors) if errors else Row(line, columns, password)


def stored(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return all columns of a user as they are stored, from those that are given: the one place for it."""
    row = {**_NOTHING, **columns}
    return row | {"search_text": searchable(row[name] for name in ("username", "email", "display_name"))}


def created(given: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return the columns of a new user."""
    at = given.get("created_at", now)
    defaults = {
        "id": given.get("id") or new_id(),
        "created_at": at,
        "updated_at": given.get("updated_at", at),
        "password_changed_at": given.get("password_changed_at", at),
        "version": 1,
    }
    if given.get("status") == DELETED:
        defaults["deleted_at"] = given.get("deleted_at", now)
    if given.get("status") == SUSPENDED:
        defaults["suspended_at"] = given.get("suspended_at", now)
    if given.get("status", ACTIVE) == ACTIVE:
        defaults |= NOT_SUSPENDED
    return stored({**given, **defaults})


def updated(user: Mapping[str, Any], given: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return the columns of a user that there is, as a row changes them."""
    changed = {**user, "updated_at": now, **given, "version": user["version"] + 1}
    if "password_hash" in given and "password_changed_at" not in given:
        changed["password_changed_at"] = now
    if changed["status"] == DELETED:
        changed["deleted_at"] = changed["deleted_at"] or now
    else:
        changed["deleted_at"] = None
    if changed["status"] == SUSPENDED:
        changed["suspended_at"] = changed["suspended_at"] or now
    elif changed["status"] == ACTIVE:
        changed |= NOT_SUSPENDED
    has_another_address = changed["email_key"] != user["email_key"]
    if has_another_address and "email_verified" not in given:
        changed["email_verified"] = False
    if has_another_address or changed["password_hash"] != user["password_hash"]:
        changed |= {name: given.get(name) for name in NOTHING_PENDING}
    return stored(changed)


_NOTHING: dict[str, Any] = {
    "id": None,
    "username": None,
    "username_key": None,
    "username_skeleton": None,
    "email": None,
    "email_key": None,
    "email_verified": False,
    "pending_email": None,
    "pending_email_key": None,
    "password_hash": NO_PASSWORD,
    "password_changed_at": None,
    "display_name": None,
    "locale": None,
    "status": ACTIVE,
    "roles": [],
    "user_metadata": {},
    "app_metadata": {},
    "created_at": None,
    "updated_at": None,
    "last_seen_at": None,
    "deleted_at": None,
    "suspended_at": None,
    "suspended_until": None,
    "suspension_reason": None,
    "version": 1,
}


def _take_away(name: str, given: dict[str, Any], errors: list[FieldError]) -> None:
    if name not in MEMBERS:
        errors.append(error(reference_token(name), UNKNOWN))
    elif name == "password_hash":
        given[name] = NO_PASSWORD
    elif name in _REMOVABLE:
        given[name] = None


def _loaded(name: str, value: Any) -> Any:
    """Return a member's value as it is loaded; raises ValidationError.

    The field of the schema judges what is not plainly good.
    """
    quick = _QUICK.get(name)
    if quick is not None and (found := quick(value)) is not None:
        return found
    if name not in MEMBERS:
        raise ValidationError(UNKNOWN)
    return _FIELDS[name].deserialize(value)


def _field_errors(name: str, messages: Any) -> list[FieldError]:
    """Return what is wrong within a member."""
    if isinstance(messages, dict):
        return [e for inner, found in messages.items() for e in _field_errors(f"{name}/{inner}", found)]
    return [error(name, Message.of(text)) for text in messages]


def _columns_of(
    given: dict[str, Any], errors: list[FieldError], grantable: frozenset[str]
) -> tuple[dict[str, Any], str | None]:
    """Return the columns and the password that members give; adds what is wrong to the errors."""
    named = {
        name: given.pop(name) for name in ("username", "email", "password") if given.get(name) is not None
    }
    columns: dict[str, Any] = {}
    _identify(columns, errors, named)
    if pending := given.pop("pending_email", None):
        found: dict[str, Any] = {}
        _identify(found, errors, {"email": pending}, pointer="/pending_email")
        columns |= {f"pending_{name}": value for name, value in found.items()}
    for name, value in given.items():
        if value is None:
            columns |= dict.fromkeys(_REMOVABLE[name])
        else:
            columns[_OTHER_COLUMNS.get(name, name)] = value
    errors += _contradictions(given, named)
    if given.get("roles"):
        errors += _unfit_roles(given["roles"], grantable)
        columns["roles"] = sorted(set(given["roles"]))
    return columns, columns.pop("password", None)


def _identify(
    columns: dict[str, Any], errors: list[FieldError], named: Mapping[str, str], pointer: str | None = None
) -> None:
    try:
        columns |= identifiers.columns(**named)
    except ValidationFailed as problem:
        errors += [FieldError(e.message, pointer=pointer or e.pointer) for e in problem.errors]


def _contradictions(given: Mapping[str, Any], named: Mapping[str, Any]) -> list[FieldError]:
    errors = []
    hashed = given.get("password_hash")
    if hashed is not None and hashed is not NO_PASSWORD:
        if "password" in named:
            errors.append(error("password_hash", BOTH_GIVEN))
        if message := hasher().judge(hashed):
            errors.append(error("password_hash", message))
    if given.get("deleted_at") is not None and given.get("status") != DELETED:
        errors.append(error("deleted_at", NOT_DELETED))
    return errors


def _unfit_roles(roles: list[str], grantable: frozenset[str]) -> list[FieldError]:
    if not grantable:
        return [error("roles", MAY_NOT_GRANT)]
    return [error(f"roles/{n}", UNKNOWN_ROLE) for n, role in enumerate(roles) if role not in grantable]


def error(name: str, message: Message) -> FieldError:
    """Return what is wrong with a member, or by the empty name with the row; `/` leads into a member."""
    return FieldError(message, pointer=name and f"/{name}")


def _plain_text(name: str) -> Callable[[Any], str | None]:
    """Return what takes a text that the member's field would take as it is."""
    text = cast("Text", _FIELDS[name])
    minimum, maximum, has_pattern = text.minimum, text.maximum, isinstance(text, Matching)

    def read(value: Any) -> str | None:
        if type(value) is not str or not minimum <= len(value) <= maximum:
            return None
        if has_pattern or not (value.isascii() and value.isprintable()):
            text.refuse_characters(value)
        return value

    return read


def _plain_id(value: Any) -> UUID | None:
    return UUID(value) if type(value) is str and _is_id(value) else None


def _plain_instant(value: Any) -> datetime | None:
    if type(value) is not str or not _is_instant(value):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def _boolean(value: Any) -> bool | None:
    return value if type(value) is bool else None


def _empty_object(value: Any) -> dict[str, Any] | None:
    return value if type(value) is dict and not value else None


def _empty_list(value: Any) -> list[Any] | None:
    return value if type(value) is list and not value else None


def _status(value: Any) -> str | None:
    return ACTIVE if value == ACTIVE else None


_TEXTS = (
    "username",
    "email",
    "pending_email",
    "password",
    "password_hash",
    "display_name",
    "locale",
    "suspension_reason",
)
_INSTANTS = (
    "created_at",
    "updated_at",
    "last_seen_at",
    "deleted_at",
    "suspended_at",
    "suspended_until",
    "password_changed_at",
)
_QUICK: dict[str, Callable[[Any], Any]] = {
    "id": _plain_id,
    "email_verified": _boolean,
    "status": _status,
    "roles": _empty_list,
    "metadata": _empty_object,
    "app_metadata": _empty_object,
    **{name: _plain_text(name) for name in _TEXTS},
    **dict.fromkeys(_INSTANTS, _plain_instant),
}
