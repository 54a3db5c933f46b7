"""What can be done with users, whoever asks for it."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa

from api.kit import clock, one_time
from api.kit.conditional import Precondition
from api.kit.db import UtcDateTime, db, refusing_duplicates
from api.kit.events import Event
from api.kit.problems import NotFound, Problem, ValidationFailed
from api.kit.queries import Query
from api.kit.service import emit, service
from api.kit.validation import refuse
from api.users import identifiers, roles
from api.users.models import DELETED, User
from schemas.messages import Message
from schemas.users import METADATA_MAXIMUM

_METADATA_TOO_LONG = Message(
    "too_long", "Must have at most {maximum} bytes once merged.", maximum=METADATA_MAXIMUM
)


class UsernameTaken(Problem):
    status = 409
    code = "username_taken"
    title = "The username is taken"
    detail = "Another account has this username, or one that looks like it."
    remedy = "Choose another username, or sign in."


class EmailTaken(Problem):
    status = 409
    code = "email_taken"
    title = "The e-mail address is taken"
    detail = "Another account has this e-mail address."
    remedy = "Sign in, or use another address."


NOTHING_PENDING = {"pending_email": None, "pending_email_key": None}
UNIQUE = {"email_key": EmailTaken, "username_key": UsernameTaken, "username_skeleton": UsernameTaken}
TAKEN = {f"uq_users_{column}": problem for column, problem in UNIQUE.items()}


@dataclass(frozen=True)
class UserCreated(Event):
    """Somebody has an account now."""

    actions = ("user_created",)
    user_id: UUID


@dataclass(frozen=True)
class SignUpRefused(Event):
    """Somebody signed up privately with what is another's: the username, or the address itself."""

    email: str
    locale: str | None
    taken: str


@dataclass(frozen=True)
class UserChanged(Event):
    """Something that the user or an administrator writes has changed."""

    actions = ("user_updated", "email_changed")
    user_id: UUID
    members: frozenset[str]

    @property
    def action(self) -> str:
        return "email_changed" if "email_key" in self.members else "user_updated"

    def details(self) -> dict[str, Any]:
        return {"members": _named(self.members)}


@dataclass(frozen=True)
class EmailChangeRequested(Event):
    """A user wants another address: it is pending if a listener of this will have it confirmed."""

    user_id: UUID


@dataclass(frozen=True)
class UserDeleted(Event):
    """An account was deleted: it can do nothing any more."""

    actions = ("user_deleted",)
    user_id: UUID


@dataclass(frozen=True)
class UsersImported(Event):
    """Rows of a file became users, or changed them.

    `by` is the user who brought the file, None for the command line; `changed` has of users who were there
    before the columns that are other now, and of new ones the roles, if they have some.
    """

    actions = ("users_imported",)
    import_id: UUID
    by: UUID | None
    created: int
    updated: int
    changed: Mapping[UUID, frozenset[str]]

    def whose(self, *names: str) -> list[UUID]:
        """Return of whom one of some columns is another now."""
        return [user_id for user_id, changed in self.changed.items() if not changed.isdisjoint(names)]

    def details(self) -> dict[str, Any]:
        """Return of which import, by whom, and how many; the import knows the rest."""
        by = None if self.by is None else str(self.by)
        counts = {"created": self.created, "updated": self.updated}
        return {"import_id": str(self.import_id), "by": by, **counts}


@dataclass(frozen=True)
class UserImported(Event):
    """A row of a file changed a user, or gave a new one roles; of others it is enough that they came."""

    actions = ("user_imported",)
    user_id: UUID
    import_id: UUID
    members: frozenset[str]
    roles: Sequence[str] | None

    def details(self) -> dict[str, Any]:
        """Return of which import, the names of members, and the roles if they are among these.

        The user sees it: whose import it was is told by UsersImported.
        """
        found = {"import_id": str(self.import_id), "members": _named(self.members)}
        return found if self.roles is None else found | {"roles": list(self.roles)}


def _named(columns: Iterable[str]) -> list[str]:
    """Return the names of members, as clients call them."""
    names = {name.removeprefix("user_") for name in columns}
    return sorted(name for name in names if not name.endswith(("_key", "_skeleton")))


# A user's columns, by their attributes' names, for statements that need no entity.
ROW = [
    attribute.columns[0].label(attribute.key)
    for attribute in sa.inspect(User).column_attrs
    if not attribute.key.startswith(("password_", "search_", "suspen", "deleted_"))
    and not attribute.key.endswith(("_key", "_skeleton"))
]
_PROFILE = {
    name.removeprefix("user_"): name
    for name in (column.key for column in sa.inspect(User).column_attrs)
    if name not in ("password_hash", "search_text", "version") and not name.endswith(("_key", "_skeleton"))
}
# Built once: building it costs more than SQLite takes to answer it.
_TOUCH = Query(
    sa.update(User)
    .where(
        User.id.in_(
            sa.select(User.id).where(User.id == sa.bindparam("user_id")).with_for_update(skip_locked=True)
        )
    )
    .values(last_seen_at=sa.bindparam("now", type_=UtcDateTime()))
    .returning(*ROW)
)


def get(user_id: UUID) -> User:
    """Return a user; raises NotFound."""
    user = db.session.get(User, user_id)
    if user is None:
        raise NotFound()
    return user


def profile_of(user_id: UUID) -> dict[str, Any]:
    """Return all that a user's row holds, but for the password's hash and what is only compared.

    Raises NotFound.
    """
    user = get(user_id)
    return {name: getattr(user, member) for name, member in _PROFILE.items()}


def find(identifier: str) -> User | None:
    """Return the user of a username or an address, deleted or not, or None."""
    key = identifiers.key_of(identifier)
    if key is None:
        return None
    column, value = key
    return db.session.scalar(sa.select(User).where(getattr(User, column) == value))


def locked(user_id: UUID) -> User:
    """Return a user that nobody else changes before this unit of work ends; raises NotFound."""
    query = sa.select(User).where(User.id == user_id, User.status != DELETED).with_for_update()
    user = db.session.scalar(query)
    if user is None:
        raise NotFound()
    return user


def prove(purpose: str, token: str) -> one_time.Proof | None:
    """Use up a one-time token of a user, whom this locks first, as everybody does who changes both.

    Return None for a token that is none, was used or has expired, or whose user was deleted.
    """
    proof = one_time.look_at(purpose, token)
    if proof is None:
        return None
    with suppress(NotFound):
        locked(proof.user_id)
        return one_time.use(purpose, token)
    return None


def etag(user: User) -> str:
    """Return the entity tag of a user: it changes with what is written, not with being seen."""
    return f"{user.id}.{user.version}"


def change(
    user_id: UUID,
    changes: Mapping[str, Any],
    precondition: Precondition,
    *,
    by_owner: bool,
    held: frozenset[str],
) -> User:
    """Apply a merge patch (RFC 7396) to a user in the state that the caller expects.

    The owner's change of address is pending until it is confirmed, if there is who has it confirmed; it
    is taken back by the address that they have.
    Nobody changes a user who may do what they, by the permissions that they hold, may not: with another
    address one takes an account over. Raises NotFound, PermissionDenied, PreconditionFailed,
    ValidationFailed, UsernameTaken or EmailTaken.
    """
    user = locked(user_id)
    require_power(held, user)
    precondition.check(etag(user))
    changes = dict(changes)
    given = {name: changes.pop(name) for name in ("username", "email") if name in changes}
    changes |= identifiers.columns(**given)
    if changes.get("username") == user.username:
        changes.pop("username_skeleton", None)  # they may have none: see the migration 0005
    for name in ("user_metadata", "app_metadata"):
        if name in changes:
            changes[name] = _merged_metadata(name, getattr(user, name), changes[name])
    if "email" not in changes:
        return apply(user, changes)
    if changes["email_key"] == user.email_key:
        return apply(user, changes | NOTHING_PENDING)
    if by_owner and service().events.are_heard(EmailChangeRequested):
        changes |= {"pending_email": changes.pop("email"), "pending_email_key": changes.pop("email_key")}
        changed = apply(user, changes)
        emit(EmailChangeRequested(user_id))
        return changed
    return apply(user, changes | {"email_verified": False} | NOTHING_PENDING)


def with_email(email: str) -> User | None:
    """Return the user of an address who is not deleted, or None."""
    try:
        key = identifiers.columns(email=email)["email_key"]
    except ValidationFailed:
        return None
    return db.session.scalar(sa.select(User).where(User.email_key == key, User.status != DELETED))


def address_to_confirm(user: User) -> tuple[str, str] | None:
    """Return the address, with its key, that a user is to confirm: the pending one, or their own."""
    if user.pending_email is not None and user.pending_email_key is not None:
        return user.pending_email, user.pending_email_key
    if user.email is None or user.email_key is None or user.email_verified:
        return None
    return user.email, user.email_key


def confirm_email(user_id: UUID, address: str) -> User | None:
    """Note that a user reads the letters of an address, which becomes theirs if it was pending.

    Return None when it is neither theirs nor pending any more. Raises NotFound or EmailTaken.
    """
    user = locked(user_id)
    if address == user.email_key:
        return apply(user, {"email_verified": True})
    if address != user.pending_email_key:
        return None
    theirs = {"email": user.pending_email, "email_key": address, "email_verified": True}
    return apply(user, theirs | NOTHING_PENDING)


def delete(user_id: UUID, precondition: Precondition, *, held: frozenset[str]) -> None:
    """Delete a user softly, by whoever holds some permissions.

    Raises NotFound, PermissionDenied, PreconditionFailed or LastAdministrator.
    """
    user = locked(user_id)
    require_power(held, user)
    precondition.check(etag(user))
    roles.keep_an_administrator(user)
    user.status = DELETED
    user.deleted_at = user.updated_at = clock.now()
    db.session.flush()
    emit(UserDeleted(user_id))


def require_power(held: frozenset[str], user: User) -> None:
    """Raise PermissionDenied unless whoever holds some permissions may do all that a user may."""
    roles.require(held, roles.permissions_of(user.roles))


def touch(user_id: UUID) -> Any:
    """Note that the user was here now, and return their row.

    Nothing is noted while somebody is changing the user: to wait could be a deadlock.
    """
    return _TOUCH.in_unit({"user_id": user_id, "now": clock.now()}) or get(user_id)


def apply(user: User, changes: Mapping[str, Any]) -> User:
    """Write to a locked user what differs, and tell of it; raises UsernameTaken or EmailTaken."""
    changed = frozenset(name for name, value in changes.items() if getattr(user, name) != value)
    if changed:
        with refusing_duplicates(TAKEN):
            for name in changed:
                setattr(user, name, changes[name])
            user.updated_at = clock.now()
        emit(UserChanged(user.id, changed))
    return user


def _merged_metadata(name: str, current: dict[str, Any], patch: dict[str, Any] | None) -> dict[str, Any]:
    merged: dict[str, Any] = {} if patch is None else _merge(current, patch)
    if len(orjson.dumps(merged)) > METADATA_MAXIMUM:
        raise refuse(name.removeprefix("user_"), _METADATA_TOO_LONG)
    return merged


def _merge(target: Any, patch: Any) -> Any:
    """Return the result of a merge patch (RFC 7396 section 2)."""
    if not isinstance(patch, dict):
        return patch
    kept = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = _merge(kept.get(name), value)
    return kept
