"""What an account may: its roles, its suspension, and its way back from deletion."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api.kit import clock
from api.kit.conditional import ANY_STATE, Precondition
from api.kit.db import db
from api.kit.events import Event
from api.kit.problems import NotFound, Problem
from api.kit.service import emit
from api.kit.validation import refuse
from api.users import roles
from api.users.models import ACTIVE, DELETED, SUSPENDED, User
from api.users.service import apply, etag, get, locked, require_power
from schemas.messages import Message, Phrase
from schemas.users import ROLES_MAXIMUM

NOT_SUSPENDED: Mapping[str, Any] = {
    "status": ACTIVE,
    "suspended_at": None,
    "suspended_until": None,
    "suspension_reason": None,
}
_BATCH = 500
_PAST = Message("not_in_future", "Must be in the future.")


class TooManyRoles(Problem):
    status = 409
    code = "too_many_roles"
    title = "The user has too many roles"
    detail = Phrase("A user has at most {maximum} roles.", maximum=ROLES_MAXIMUM)
    remedy = "Take a role from the user, or make one role of several."


class OwnAccount(Problem):
    status = 409
    code = "own_account"
    title = "This is your own account"
    detail = "Nobody suspends themselves."
    remedy = "Ask another administrator, or delete the account."


class NotDeleted(Problem):
    status = 409
    code = "not_deleted"
    title = "The user is not deleted"
    detail = "Only a user who is deleted can be restored."
    remedy = "Nothing is to be done."


@dataclass(frozen=True)
class _OfRole(Event):
    user_id: UUID
    role: str

    def details(self) -> dict[str, Any]:
        return {"role": self.role}


@dataclass(frozen=True)
class RoleGranted(_OfRole):
    """A user has a role now."""

    actions = ("role_granted",)


@dataclass(frozen=True)
class RoleTaken(_OfRole):
    """A user has a role no more."""

    actions = ("role_taken",)


@dataclass(frozen=True)
class UserSuspended(Event):
    """A user may do nothing any more, until the suspension ends."""

    actions = ("user_suspended",)
    user_id: UUID


@dataclass(frozen=True)
class SuspensionLifted(Event):
    """The suspension of a user is over; they may sign in again."""

    actions = ("user_suspension_lifted",)
    user_id: UUID


@dataclass(frozen=True)
class UserRestored(Event):
    """A user who was deleted is back."""

    actions = ("user_restored",)
    user_id: UUID


def grant(user_id: UUID, role: str, *, held: frozenset[str]) -> None:
    """Give a user a role, by whoever holds all that it allows; that they have it already is as good.

    Raises NotFound, PermissionDenied or TooManyRoles.
    """
    roles.require(held, roles.held_still(role))
    user = locked(user_id)
    if role in user.roles:
        return
    if len(user.roles) >= ROLES_MAXIMUM:
        raise TooManyRoles()
    _assign(user, [*user.roles, role])
    emit(RoleGranted(user_id, role))


def take(user_id: UUID, role: str, *, held: frozenset[str]) -> None:
    """Take a role from a user, by whoever holds all that it allows; that they lack it is as good.

    Raises NotFound, PermissionDenied or LastAdministrator.
    """
    roles.require(held, roles.held_still(role))
    user = locked(user_id)
    if role not in user.roles:
        return
    if role == roles.ADMIN:
        roles.keep_an_administrator(user)
    _assign(user, [name for name in user.roles if name != role])
    emit(RoleTaken(user_id, role))


def suspend(
    user_id: UUID,
    reason: str,
    until: datetime | None,
    precondition: Precondition = ANY_STATE,
    *,
    held: frozenset[str],
    by: UUID | None,
) -> User:
    """Suspend a user, or change the reason and the end of a suspension; with None it has no end.

    Raises NotFound, OwnAccount, PermissionDenied, PreconditionFailed, ValidationFailed or LastAdministrator.
    """
    now = clock.now()
    if until is not None and until <= now:
        raise refuse("until", _PAST)
    if user_id == by:
        raise OwnAccount()
    user = locked(user_id)
    require_power(held, user)
    precondition.check(etag(user))
    roles.keep_an_administrator(user)
    changes = {"status": SUSPENDED, "suspended_until": until, "suspension_reason": reason}
    apply(user, changes | {"suspended_at": user.suspended_at or now})
    emit(UserSuspended(user_id))
    return user


def suspended(user_id: UUID) -> User:
    """Return a user who is suspended; raises NotFound for any other."""
    user = get(user_id)
    if user.status != SUSPENDED:
        raise NotFound()
    return user


def lift(user_id: UUID, precondition: Precondition = ANY_STATE, *, held: frozenset[str]) -> None:
    """End a suspension; raises NotFound when there is none, PermissionDenied or PreconditionFailed."""
    user = locked(user_id)
    if user.status != SUSPENDED:
        raise NotFound()
    require_power(held, user)
    precondition.check(etag(user))
    _lift(user)


def may_sign_in(user: Any) -> bool:
    """Tell whether a user is active, or would be if somebody had looked since their suspension ended."""
    is_over = user.suspended_until is not None and user.suspended_until <= clock.now()
    return user.status == ACTIVE or (user.status == SUSPENDED and is_over)


def activate(user_id: UUID) -> None:
    """Let a user be active, if all that keeps them from it is a suspension that has ended."""
    user = db.session.get(User, user_id, with_for_update=True)
    if user is not None and user.status != ACTIVE and may_sign_in(user):
        _lift(user)


def has_ended_suspensions() -> bool:
    return db.session.scalar(_ended().limit(1)) is not None


def lift_ended() -> bool:
    """Lift some suspensions whose end has come, and tell whether there were any."""
    lifted = _ended().limit(_BATCH).with_for_update(skip_locked=True)
    change = sa.update(User).where(User.id.in_(lifted)).values(**NOT_SUSPENDED)
    change = change.values(updated_at=clock.now(), version=User.version + 1).returning(User.id)
    ids = db.session.scalars(change.execution_options(synchronize_session=False)).all()
    for user_id in ids:
        emit(SuspensionLifted(user_id))
    return bool(ids)


def restore(user_id: UUID, precondition: Precondition = ANY_STATE, *, held: frozenset[str]) -> User:
    """Undo the deletion of a user, who is suspended again if they were.

    Raises NotFound, NotDeleted, PermissionDenied or PreconditionFailed.
    """
    user = db.session.scalar(sa.select(User).where(User.id == user_id).with_for_update())
    if user is None:
        raise NotFound()
    if user.status != DELETED:
        raise NotDeleted()
    require_power(held, user)
    precondition.check(etag(user))
    status = ACTIVE if user.suspended_at is None else SUSPENDED
    apply(user, {"status": status, "deleted_at": None})
    emit(UserRestored(user_id))
    return user


def _assign(user: User, names: list[str]) -> None:
    roles.note_members(user.id, names, before=user.roles)
    apply(user, {"roles": sorted(names)})


def _lift(user: User) -> None:
    apply(user, NOT_SUSPENDED)
    emit(SuspensionLifted(user.id))


def _ended() -> sa.Select[UUID]:
    return sa.select(User.id).where(User.suspended_until <= clock.now(), User.status == SUSPENDED)
