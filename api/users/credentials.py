"""Whether a password is a user's, and giving a user another one."""

from dataclasses import dataclass
from typing import Any, NoReturn
from uuid import UUID

import sqlalchemy as sa

from api.kit import attempts, clock, one_time, work
from api.kit.db import UtcDateTime, db
from api.kit.events import Event
from api.kit.hashing import hasher
from api.kit.problems import Overloaded, Problem
from api.kit.queries import Query
from api.kit.service import emit
from api.kit.settings import Limit, Setting, limit
from api.kit.validation import refuse
from api.users import identifiers, standing
from api.users.models import ACTIVE, IS_ACTIVE, User
from api.users.service import NOTHING_PENDING, ROW, apply, get, locked, prove, require_power

PASSWORD_LIMIT = Setting(
    "PASSWORD_LIMIT",
    "Sign-ins and other requests with a password of one client address (IPv6: /64), right or wrong.",
    Limit(100, 60),
    limit,
)


_SEEN = (User.id, User.password_hash, User.password_changed_at, User.status, User.suspended_until)
_BY_KEY = {
    column.key: Query(sa.select(*_SEEN).where(column == sa.bindparam("key")))
    for column in (User.username_key, User.email_key)
}
_CONFIRM = Query(
    sa.update(User)
    .where(User.id == sa.bindparam("user_id"), IS_ACTIVE)
    .where(User.password_changed_at == sa.bindparam("unchanged_since"))
    .values(last_seen_at=sa.bindparam("now", type_=UtcDateTime()))
    .returning(*ROW)
)
LOGIN_FAILED = "authn_login_fail"  # an action of the audit trail


class WrongPassword(Problem):
    status = 403
    code = "wrong_password"
    title = "The password is not right"
    detail = "The password is not the one of the account."
    remedy = "Send the account's current password, or reset it."
    keeps_writes = True  # what was noted of it


@dataclass(frozen=True)
class PasswordChanged(Event):
    """An account has another password now, set by the token of a letter or otherwise."""

    actions = ("password_changed", "password_reset")
    user_id: UUID
    by_letter: bool = False

    @property
    def action(self) -> str:
        return "password_reset" if self.by_letter else "password_changed"


@dataclass(frozen=True)
class PasswordRefused(Event):
    """Somebody gave a password that is not the one of an account, or with None for what is no account.

    `is_last` tells that they may not try again for now.
    """

    actions = (LOGIN_FAILED,)
    user_id: UUID | None
    is_last: bool

    def details(self) -> dict[str, Any]:
        return {"reason": "wrong_password", "limit_reached": self.is_last}


def with_password(identifier: str, password: str, address: str | None) -> Any:
    """Return the row of the active user who has both: at the same cost whoever is asked for.

    Holds no connection while it hashes. A hash that was made otherwise is renewed. Raises WrongPassword,
    TooManyAttempts, or Overloaded when too many sign up or in.
    """
    with attempts.attempt([identifiers.subject_of(identifier)], address) as is_last:
        seen = _find(identifier)
        return _proven(seen, password) or _refuse_password(seen, is_last)


def with_own_password(user_id: UUID, password: str, address: str | None) -> Any:
    """Return the row of an active user whose password it is.

    Raises WrongPassword, NotFound, TooManyAttempts, or Overloaded when too many sign up or in.
    """
    with work.reading():
        seen = get(user_id)
    with attempts.attempt(_subjects(seen), address) as is_last:
        return _proven(seen, password) or _refuse_password(seen, is_last)


def set_password(user_id: UUID, new_password: str, *, held: frozenset[str]) -> None:
    """Give a user another password, whoever knows the old one, by whoever holds some permissions.

    Raises NotFound, PermissionDenied, ValidationFailed, or Overloaded when too many sign up or in.
    """
    with work.reading():
        seen = get(user_id)
        require_power(held, seen)
    hashed = hasher().hash(_fit(new_password, seen))
    user = locked(user_id)
    require_power(held, user)
    _set_password(user, hashed)


def change_password(user_id: UUID, current_password: str, new_password: str, address: str | None) -> None:
    """Give a user another password in place of the current one.

    Raises WrongPassword, NotFound, TooManyAttempts, ValidationFailed, or Overloaded when too many sign up
    or in.
    """
    with work.reading():
        seen = get(user_id)
    fit = _fit(new_password, seen)
    with attempts.attempt(_subjects(seen), address) as is_last:
        if not _has_password(seen, current_password):
            _refuse_password(seen, is_last)
        hashed = hasher().hash(fit)
        user = locked(user_id)
        if user.password_changed_at != seen.password_changed_at:
            _refuse_password(seen, is_last)
    _set_password(user, hashed)


def set_by_token(purpose: str, token: str, new_password: str, *, takes_back: bool = False) -> one_time.Proof:
    """Give a user another password by a one-time token, which proves an address as well.

    It is refused when the address is not theirs any more, unless the token takes it back.
    Raises ValidationFailed, EmailTaken, or Overloaded when too many sign up or in.
    """
    with work.reading():
        seen = one_time.look_at(purpose, token)
        user = None if seen is None else get(seen.user_id)
    if user is None:
        raise refuse("token", one_time.UNUSABLE)
    hashed = hasher().hash(_fit(new_password, user))
    proof = prove(purpose, token)
    if proof is None:
        raise refuse("token", one_time.UNUSABLE)
    user = locked(proof.user_id)
    if takes_back:
        apply(user, identifiers.columns(email=proof.address))
    elif user.email_key != proof.address:
        raise refuse("token", one_time.UNUSABLE)
    _set_password(user, hashed, by_letter=True)
    apply(user, {"email_verified": True})
    return proof


def _refuse_password(seen: Any, is_last: bool) -> NoReturn:
    emit(PasswordRefused(None if seen is None else seen.id, is_last))
    raise WrongPassword()


def _set_password(user: User, hashed: str, *, by_letter: bool = False) -> None:
    """Give a user another password; whoever knew the old one may have wished for another address."""
    change = sa.update(User).where(User.id == user.id)
    db.session.execute(change.values(password_hash=hashed, password_changed_at=clock.now()))
    emit(PasswordChanged(user.id, by_letter))
    apply(user, NOTHING_PENDING)


def _subjects(user: User) -> list[str]:
    """Return what attempts for a user are counted by: whatever they may sign in with."""
    given = {"username_key": user.username_key, "email_key": user.email_key}
    return [identifiers.subject(column, key) for column, key in given.items() if key is not None]


def _fit(new_password: str, user: User) -> str:
    """Return a password that may become a user's; raises ValidationFailed."""
    stored = identifiers.columns(new_password=new_password)
    if identifiers.contains_name(stored["password"], user.username, user.email):
        raise refuse("new_password", identifiers.CONTAINS_NAME)
    return stored["password"]


def _renewed_hash(hashed: str, password: str) -> str | None:
    """Return a hash as it is made today when the old one is not; not worth a refusal."""
    try:
        return hasher().hash(password) if hasher().is_outdated(hashed) else None
    except Overloaded:
        return None


def _find(identifier: str) -> Any:
    """Return what there is to know of the user of a username or an address before they sign in, or None."""
    key = identifiers.key_of(identifier)
    return None if key is None else _BY_KEY[key[0]].one_or_none({"key": key[1]})


def _proven(seen: Any, password: str) -> Any:
    """Return the user's row, locked, if active and of this password: at the same cost if there is none."""
    right = _has_password(seen, password)
    if seen is None or not right or not standing.may_sign_in(seen):
        return None
    return _confirmed(seen, _renewed_hash(seen.password_hash, password))


def _has_password(user: Any, password: str) -> bool:
    hashed = None if user is None else user.password_hash
    return hasher().verify(hashed, password)


def _confirmed(seen: Any, renewed_hash: str | None) -> Any:
    """Return the user's row, locked, if active and of the same password as seen; store a renewed hash.

    Notes that they were here now.
    """
    if seen.status != ACTIVE:
        standing.activate(seen.id)
    unchanged = {"user_id": seen.id, "unchanged_since": seen.password_changed_at}
    row = _CONFIRM.in_unit(unchanged | {"now": clock.now()})
    if row is not None and renewed_hash is not None:
        db.session.execute(sa.update(User).where(User.id == seen.id).values(password_hash=renewed_hash))
    return row
