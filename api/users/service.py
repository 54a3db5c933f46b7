"""What can be done with users, whoever asks for it."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa

from api.kit import attempts, clock, one_time, work
from api.kit.conditional import Precondition
from api.kit.db import UtcDateTime, db, refusing_duplicates
from api.kit.events import Event
from api.kit.hashing import Hasher
from api.kit.ids import new_id
from api.kit.outbox import owe
from api.kit.pages import Page, page
from api.kit.problems import NotFound, Overloaded, Problem, ValidationFailed
from api.kit.service import emit, extension, service
from api.kit.settings import Limit, Setting, limit, one_of, some_of
from api.kit.validation import refuse
from api.users import identifiers
from api.users.models import ACTIVE, DELETED, User
from schemas.base import Message
from schemas.users import METADATA_MAXIMUM

SIGN_UP_TASK = "sign_up"  # in the outbox
ADMIN = "admin"  # the role that has every permission
SIGN_UP = Setting(
    "SIGN_UP",
    "Who may sign up: with `closed` only whoever has the permission `users:write`; with `private` everybody, "
    "and only a letter tells whether there was an account already.",
    "open",
    one_of("open", "closed", "private"),
)
IDENTIFIERS: Setting[tuple[str, ...]] = Setting(
    "IDENTIFIERS",
    "What signing up must give: `username`, `email` or both.",
    ("username", "email"),
    some_of("username", "email"),
    default_text="`username,email`",
)

SIGN_UP_LIMIT = Setting("SIGN_UP_LIMIT", "Sign-ups of one client address (IPv6: /64).", Limit(30, 60), limit)
PASSWORD_LIMIT = Setting(
    "PASSWORD_LIMIT",
    "Sign-ins and other requests with a password of one client address (IPv6: /64), right or wrong.",
    Limit(100, 60),
    limit,
)


class UsernameTaken(Problem):
    status = 409
    code = "username_taken"
    title = "The username is taken"
    detail = "Another account has this username."
    remedy = "Choose another username, or sign in."


class EmailTaken(Problem):
    status = 409
    code = "email_taken"
    title = "The e-mail address is taken"
    detail = "Another account has this e-mail address."
    remedy = "Sign in, or use another address."


class WrongPassword(Problem):
    status = 403
    code = "wrong_password"
    title = "The password is not right"
    detail = "The password is not the one of the account."
    remedy = "Send the account's current password, or reset it."


_NOTHING_PENDING = {"pending_email": None, "pending_email_key": None}
_TAKEN = {"uq_users_username_key": UsernameTaken, "uq_users_email_key": EmailTaken}


@dataclass(frozen=True)
class UserCreated(Event):
    """Somebody has an account now."""

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

    user_id: UUID
    members: frozenset[str]


@dataclass(frozen=True)
class EmailChangeRequested(Event):
    """A user wants another address: it is pending if a listener of this will have it confirmed."""

    user_id: UUID


@dataclass(frozen=True)
class UserDeleted(Event):
    """An account was deleted: it can do nothing any more."""

    user_id: UUID


@dataclass(frozen=True)
class PasswordChanged(Event):
    """An account has another password now."""

    user_id: UUID


# A user's columns, by their attributes' names, for statements that need no entity.
ROW = [
    attribute.columns[0].label(attribute.key)
    for attribute in sa.inspect(User).column_attrs
    if attribute.key != "password_hash"
]
# Built once: building it costs more than SQLite takes to answer it.
_TOUCH = (
    sa.update(User)
    .where(
        User.id.in_(
            sa.select(User.id).where(User.id == sa.bindparam("user_id")).with_for_update(skip_locked=True)
        )
    )
    .values(last_seen_at=sa.bindparam("now", type_=UtcDateTime()))
    .returning(User)
    .execution_options(synchronize_session=False, populate_existing=True)
)


def sign_up(
    *, password: str, roles: Iterable[str] = (), user_metadata: dict[str, Any] | None = None, **profile: Any
) -> User:
    """Create an active user; `profile` holds username, email, display_name and locale.

    Raises ValidationFailed, UsernameTaken, EmailTaken, or Overloaded when too many sign up or in.
    """
    stored = _stored(password, profile)
    _refuse_taken(stored)
    stored["password_hash"] = hasher().hash(stored.pop("password"))
    return _create(stored, profile | {"user_metadata": user_metadata or {}}, roles)


def request_sign_up(*, password: str, user_metadata: dict[str, Any] | None = None, **profile: Any) -> None:
    """Owe somebody an account: the same work whether or not there is one already.

    Raises ValidationFailed, or Overloaded when too many sign up or in.
    """
    stored = _stored(password, profile)
    stored["password_hash"] = hasher().hash(stored.pop("password"))
    owe(SIGN_UP_TASK, {"stored": stored, "profile": profile | {"user_metadata": user_metadata or {}}})


def finish_sign_up(content: dict[str, Any]) -> None:
    """Create the account that is owed, or tell its address why not."""
    stored, profile = content["stored"], content["profile"]
    try:
        _refuse_taken(stored)
    except (EmailTaken, UsernameTaken) as refusal:
        taken = "email" if isinstance(refusal, EmailTaken) else "username"
        emit(SignUpRefused(stored["email"], profile.get("locale"), taken))
    else:
        _create(stored, profile, roles=())


def _stored(password: str, profile: dict[str, Any]) -> dict[str, str]:
    """Take the identifiers out of a profile, and return what is stored of them and of the password."""
    given = {name: profile.pop(name) for name in ("username", "email") if name in profile}
    return identifiers.columns(**given, password=password)


def _create(stored: Mapping[str, str], profile: Mapping[str, Any], roles: Iterable[str]) -> User:
    now = clock.now()
    user = User(
        id=new_id(),
        password_changed_at=now,
        **stored,
        **profile,
        email_verified=False,
        status=ACTIVE,
        roles=sorted(roles),
        app_metadata={},
        created_at=now,
        updated_at=now,
    )
    with refusing_duplicates(_TAKEN):
        db.session.add(user)
    emit(UserCreated(user.id))
    return user


def get(user_id: UUID) -> User:
    """Return a user; raises NotFound."""
    user = db.session.get(User, user_id)
    if user is None:
        raise NotFound()
    return user


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


def list_page(*, limit: int, cursor: str | None, sort: str) -> Page:
    """Return a page of all users; raises ValidationFailed for a cursor that is not this list's."""
    order = (User.created_at, User.id)
    return page(sa.select(User), order, descending=sort.startswith("-"), limit=limit, cursor=cursor)


def etag(user: User) -> str:
    """Return the entity tag of a user: it changes with what is written, not with being seen."""
    return f"{user.id}.{user.version}"


def change(user_id: UUID, changes: Mapping[str, Any], precondition: Precondition, *, by_owner: bool) -> User:
    """Apply a merge patch (RFC 7396) to a user in the state that the caller expects.

    The owner's change of address is pending until it is confirmed, if there is who has it confirmed; it
    is taken back by the address that they have.
    Raises NotFound, PreconditionFailed, ValidationFailed, UsernameTaken or EmailTaken.
    """
    user = locked(user_id)
    precondition.check(etag(user))
    changes = dict(changes)
    given = {name: changes.pop(name) for name in ("username", "email") if name in changes}
    changes |= identifiers.columns(**given)
    for name in ("user_metadata", "app_metadata"):
        if name in changes:
            changes[name] = _merged_metadata(name, getattr(user, name), changes[name])
    if "email" not in changes:
        return _apply(user, changes)
    if changes["email_key"] == user.email_key:
        return _apply(user, changes | _NOTHING_PENDING)
    if by_owner and service().events.are_heard(EmailChangeRequested):
        changes |= {"pending_email": changes.pop("email"), "pending_email_key": changes.pop("email_key")}
        changed = _apply(user, changes)
        emit(EmailChangeRequested(user_id))
        return changed
    return _apply(user, changes | {"email_verified": False} | _NOTHING_PENDING)


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
        return _apply(user, {"email_verified": True})
    if address != user.pending_email_key:
        return None
    theirs = {"email": user.pending_email, "email_key": address, "email_verified": True}
    return _apply(user, theirs | _NOTHING_PENDING)


def delete(user_id: UUID, precondition: Precondition) -> None:
    """Delete a user softly; raises NotFound or PreconditionFailed."""
    user = locked(user_id)
    precondition.check(etag(user))
    user.status = DELETED
    user.deleted_at = user.updated_at = clock.now()
    db.session.flush()
    emit(UserDeleted(user_id))


def with_password(identifier: str, password: str) -> User | None:
    """Return the active user who has both, or None: at the same cost whoever is asked for.

    Holds no connection while it hashes. A hash that was made otherwise is renewed. Raises
    Overloaded when too many sign up or in.
    """
    with work.reading():
        user = _find(identifier)
    return _proven(user, password)


def with_own_password(user_id: UUID, password: str, address: str | None) -> User:
    """Return an active user whose password it is.

    Raises WrongPassword, NotFound, TooManyAttempts, or Overloaded when too many sign up or in.
    """
    with work.reading():
        seen = get(user_id)
    with attempts.attempt(_subjects(seen), address):
        user = _proven(seen, password)
        if user is None:
            raise WrongPassword()
    return user


def set_password(user_id: UUID, new_password: str) -> None:
    """Give a user another password, whoever knows the old one.

    Raises NotFound, ValidationFailed, or Overloaded when too many sign up or in.
    """
    with work.reading():
        seen = get(user_id)
    hashed = hasher().hash(_fit(new_password, seen))
    _set_password(locked(user_id), hashed)


def change_password(user_id: UUID, current_password: str, new_password: str, address: str | None) -> None:
    """Give a user another password in place of the current one.

    Raises WrongPassword, NotFound, TooManyAttempts, ValidationFailed, or Overloaded when too many sign up
    or in.
    """
    with work.reading():
        seen = get(user_id)
    fit = _fit(new_password, seen)
    with attempts.attempt(_subjects(seen), address):
        if not _has_password(seen, current_password):
            raise WrongPassword()
        hashed = hasher().hash(fit)
        user = locked(user_id)
        if user.password_changed_at != seen.password_changed_at:
            raise WrongPassword()
    _set_password(user, hashed)


def hashed_password(user_id: UUID, new_password: str) -> str:
    """Return what is stored of a password that is to become a user's, before a unit of work begins.

    Raises NotFound, ValidationFailed, or Overloaded when too many sign up or in.
    """
    with work.reading():
        user = get(user_id)
    return hasher().hash(_fit(new_password, user))


def reset_password(user_id: UUID, address: str, hashed: str) -> User | None:
    """Give a user who reads the letters of an address another password; that proves the address as well.

    Return None when the address is not theirs any more. Raises NotFound.
    """
    user = locked(user_id)
    if user.email_key != address:
        return None
    _set_password(user, hashed)
    return _apply(user, {"email_verified": True})


def _set_password(user: User, hashed: str) -> None:
    """Give a user another password; whoever knew the old one may have wished for another address."""
    change = sa.update(User).where(User.id == user.id)
    db.session.execute(change.values(password_hash=hashed, password_changed_at=clock.now()))
    emit(PasswordChanged(user.id))
    _apply(user, _NOTHING_PENDING)


def touch(user_id: UUID) -> User:
    """Note that the user was here now, and return them.

    Nothing is noted while somebody is changing the user: to wait could be a deadlock.
    """
    seen = db.session.scalar(_TOUCH, {"user_id": user_id, "now": clock.now()})
    return seen or get(user_id)


def permissions_of(roles: Iterable[str]) -> frozenset[str]:
    """Return what the roles allow today."""
    if ADMIN not in roles:
        return frozenset()
    return frozenset(permission.name for permission in service().permissions)


def hasher() -> Hasher:
    found: Hasher = extension("tessera.hasher")
    return found


def _refuse_taken(stored: Mapping[str, str]) -> None:
    """Refuse what is plainly taken before hashing for it; the index judges those who come at once."""
    with work.reading():
        for column, problem in (("email_key", EmailTaken), ("username_key", UsernameTaken)):
            taken = sa.select(sa.literal(1)).where(getattr(User, column) == stored.get(column))
            if column in stored and db.session.scalar(taken):
                raise problem()


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


def _find(identifier: str) -> User | None:
    key = identifiers.key_of(identifier)
    if key is None:
        return None
    column, value = key
    return db.session.scalar(sa.select(User).where(getattr(User, column) == value))


def _apply(user: User, changes: Mapping[str, Any]) -> User:
    changed = frozenset(name for name, value in changes.items() if getattr(user, name) != value)
    if changed:
        with refusing_duplicates(_TAKEN):
            for name in changed:
                setattr(user, name, changes[name])
            user.updated_at = clock.now()
        emit(UserChanged(user.id, changed))
    return user


def _merged_metadata(name: str, current: dict[str, Any], patch: dict[str, Any] | None) -> dict[str, Any]:
    merged: dict[str, Any] = {} if patch is None else _merge(current, patch)
    if len(orjson.dumps(merged)) > METADATA_MAXIMUM:
        message = Message("too_long", f"Must have at most {METADATA_MAXIMUM} bytes once merged.")
        raise refuse(name.removeprefix("user_"), message)
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


def _renewed_hash(hashed: str, password: str) -> str | None:
    """Return a hash as it is made today when the old one is not; not worth a refusal."""
    try:
        return hasher().hash(password) if hasher().is_outdated(hashed) else None
    except Overloaded:
        return None


def _proven(seen: User | None, password: str) -> User | None:
    """Return the user, locked, if active and of this password: at the same cost if there is none."""
    right = _has_password(seen, password)
    if seen is None or not right or seen.status != ACTIVE:
        return None
    return _confirmed(seen, _renewed_hash(seen.password_hash, password))


def _has_password(user: User | None, password: str) -> bool:
    hashed = None if user is None else user.password_hash
    return hasher().verify(hashed, password)


def _confirmed(seen: User, renewed_hash: str | None) -> User | None:
    """Return the user, locked, if active and of the same password as seen; store a renewed hash."""
    user = db.session.get(User, seen.id, with_for_update=True)
    if user is None or user.status != ACTIVE or user.password_changed_at != seen.password_changed_at:
        return None
    if renewed_hash is not None:
        db.session.execute(sa.update(User).where(User.id == user.id).values(password_hash=renewed_hash))
    return user
