"""What can be done with sessions, whoever asks for it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api.kit import clock, work
from api.kit.config import PUBLIC_URL
from api.kit.db import UtcDateTime, db
from api.kit.events import Event
from api.kit.identity import Identity
from api.kit.ids import new_id
from api.kit.pages import Page, page
from api.kit.problems import InvalidToken, NotFound, Problem
from api.kit.service import emit, setting
from api.kit.settings import Setting, integer
from api.sessions import revocations, tokens
from api.sessions.keys import Key, keyring
from api.sessions.models import Session
from api.sessions.tokens import InvalidRefreshToken
from api.users import service as users
from api.users.models import ACTIVE, User
from api.users.service import UserDeleted

DAY = 86400  # seconds
IDLE_SECONDS = Setting(
    "SESSION_IDLE_SECONDS", "A session ends when it is not used for so long.", 30 * DAY,
    integer(60, 3650 * DAY),
)  # fmt: skip
ABSOLUTE_SECONDS = Setting(
    "SESSION_ABSOLUTE_SECONDS", "A session ends so long after the sign-in, used or not.", 90 * DAY,
    integer(60, 3650 * DAY),
)  # fmt: skip
OVERLAP_SECONDS = Setting(
    "REFRESH_OVERLAP_SECONDS", "For so long an exchanged token gives its successor again, used or not.", 30,
    integer(0, 300),
)  # fmt: skip
SESSIONS_PER_USER = Setting(
    "SESSIONS_PER_USER", "Sessions that a user has at most; one more ends the oldest.", 100, integer(1, 10000)
)
LAST_USE_SECONDS = 60  # between two notes of when a session was used last
KEPT_DAYS = 30  # for which a session is kept after its end


# Statements are built once: building one costs more than SQLite takes to answer it.
_LIVE = (
    Session.ended_at.is_(None),
    Session.expires_at > sa.bindparam("now", type_=UtcDateTime()),
    Session.last_used_at > sa.bindparam("idle_since", type_=UtcDateTime()),
)
_OF_ACTIVE_USER = sa.exists().where(User.id == Session.user_id, User.status == ACTIVE).correlate(Session)
_CALLER = (
    sa.select(
        Session.authenticated_at, Session.last_used_at, Session.generation, Session.confirmed, *users.ROW
    )
    .join_from(Session, User, User.id == Session.user_id)
    .where(Session.id == sa.bindparam("session_id"), User.id == sa.bindparam("user_id"))
    .where(User.status == ACTIVE, *_LIVE)
)
_ROTATE = (
    sa.update(Session)
    .where(Session.id == sa.bindparam("session_id"), Session.generation == sa.bindparam("presented"))
    .where(*_LIVE, _OF_ACTIVE_USER)
    .values(
        generation=Session.generation + 1,
        confirmed=False,
        rotated_at=sa.bindparam("now", type_=UtcDateTime()),
        last_used_at=sa.bindparam("now", type_=UtcDateTime()),
    )
    .returning(Session)
    .execution_options(synchronize_session=False)
)
_NOTE_USE = (
    sa.update(Session)
    .where(
        Session.id.in_(
            sa.select(Session.id)
            .where(Session.id == sa.bindparam("session_id"))
            .with_for_update(skip_locked=True)
        )
    )
    .values(
        confirmed=sa.or_(Session.confirmed, Session.generation == sa.bindparam("used")),
        last_used_at=sa.bindparam("now", type_=UtcDateTime()),
    )
)
_AUTHENTICATE_AGAIN = (
    sa.update(Session)
    .where(Session.id == sa.bindparam("session_id"), *_LIVE)
    .values(
        authenticated_at=sa.bindparam("now", type_=UtcDateTime()),
        last_used_at=sa.bindparam("now", type_=UtcDateTime()),
    )
    .returning(Session)
    .execution_options(synchronize_session=False)
)


class _SignInAgain(Problem):
    status = 401
    remedy = "Sign in again."

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": "Bearer"})


class InvalidCredentials(_SignInAgain):
    code = "invalid_credentials"
    title = "The credentials are not valid"
    detail = "No account has this identifier and this password."
    remedy = "Check both, or reset the password."


class SessionEnded(_SignInAgain):
    code = "session_ended"
    title = "The session has ended"
    detail = "The session was signed out, has expired, or its user may not sign in."
    keeps_writes = True  # what was noted of it


class RefreshTokenReused(_SignInAgain):
    code = "refresh_token_reused"
    title = "The refresh token was used before"
    detail = "The refresh token was exchanged before, so its session was ended."
    keeps_writes = True


@dataclass(frozen=True)
class SessionStarted(Event):
    """Somebody signed in."""

    user_id: UUID
    session_id: UUID


@dataclass(frozen=True)
class SessionsEnded(Event):
    """Sessions of a user ended, before their time."""

    user_id: UUID
    session_ids: tuple[UUID, ...]
    reason: str


@dataclass(frozen=True)
class RefreshTokenReuse(Event):
    """An old refresh token came back: somebody else may have it. The session was ended."""

    user_id: UUID
    session_id: UUID


@dataclass(frozen=True)
class RefreshAfterEnd(Event):
    """A refresh token of a session that has ended was presented; that is no alarm."""

    session_id: UUID


@dataclass(frozen=True)
class RefreshTokenForged(Event):
    """What was presented as a refresh token is not from here."""


@dataclass(frozen=True)
class Device:
    """Where a request comes from."""

    ip: str | None
    user_agent: str | None


def sign_in(identifier: str, password: str, device_name: str | None, device: Device) -> dict[str, Any]:
    """Start a session and return it with its tokens.

    Raises InvalidCredentials, or Overloaded when too many sign up or in.
    """
    key = keyring().signing()
    user = users.with_password(identifier, password)
    if user is None:
        raise InvalidCredentials()
    return _with_tokens(key, _start(user, device_name, device), users.touch(user.id))


def refresh(refresh_token: str) -> dict[str, Any]:
    """Exchange a refresh token and return its session with new tokens.

    The token before the current one gives the current ones again: as long as those were never used,
    for their answer may be lost, and for a while after, for two tabs may ask at once. Raises
    InvalidRefreshToken, SessionEnded, or RefreshTokenReused, which ends the session.
    """
    session_id, generation = _read_refresh_token(refresh_token)
    key = keyring().signing()
    live = _live_at(clock.now())
    presented = {"session_id": session_id, "presented": generation}
    session = db.session.scalar(_ROTATE, presented | live) or _not_rotated(session_id, generation, live)
    return _with_tokens(key, session, users.touch(session.user_id))


def reauthenticate(caller: Identity, password: str) -> dict[str, Any]:
    """Make the caller's sign-in fresh, and return the session with a new access token.

    Raises WrongPassword, Overloaded, or InvalidToken when the session ended meanwhile.
    """
    key = keyring().signing()
    user = users.with_own_password(caller.user_id, password)
    session = db.session.scalar(
        _AUTHENTICATE_AGAIN, {"session_id": caller.session_id} | _live_at(clock.now())
    )
    if session is None:
        raise InvalidToken()
    return _with_tokens(key, session, users.touch(user.id))


def authenticate(access_token: str) -> Identity:
    """Return whose token it is; raises InvalidToken unless its session and its user are live.

    One query: a session that was signed out is refused at the next request. The first use of what a
    refresh gave is noted as well, and once a minute the use of the session; by the next use when that
    cannot be done now.
    """
    user_id, session_id, generation, _kid = tokens.read_access_token(access_token)
    named = {"session_id": session_id, "user_id": user_id}
    now = clock.now()
    row = work.read_one(_CALLER, named | _live_at(now))
    if row is None:
        raise InvalidToken()
    is_first_use = not row.confirmed and row.generation == generation
    if is_first_use or (now - row.last_used_at).total_seconds() >= LAST_USE_SECONDS:
        work.note(_NOTE_USE, {"session_id": session_id, "used": generation, "now": now})
    return Identity(user_id, session_id, users.permissions_of(row.roles), row.authenticated_at, record=row)


def list_page(user_id: UUID, current: UUID | None, *, limit: int, cursor: str | None) -> Page:
    """Return a page of a user's live sessions, the newest first; raises NotFound for no user."""
    users.get(user_id)
    query = sa.select(Session).where(Session.user_id == user_id, *_LIVE).params(_live_at(clock.now()))
    order = (Session.created_at, Session.id)
    filters = {"user_id": str(user_id)}
    found = page(query, order, descending=True, limit=limit, cursor=cursor, filters=filters)
    return Page([_described(session, current) for session in found.items], found.next_cursor)


def sign_out(user_id: UUID, session_id: UUID | None) -> None:
    """End one session of a user; raises NotFound when it is none, or has ended."""
    if not _end(user_id, Session.id == session_id, *_LIVE, reason="signed_out"):
        raise NotFound()


def sign_out_here(caller: Identity) -> None:
    """End the caller's own session; that it ended meanwhile is as good."""
    _end(caller.user_id, Session.id == caller.session_id, reason="signed_out")


def sign_out_by_token(refresh_token: str) -> None:
    """End the session of a refresh token, old or new; that it has ended is as good.

    Raises InvalidRefreshToken.
    """
    session_id, _generation = _read_refresh_token(refresh_token)
    user_id = db.session.scalar(sa.select(Session.user_id).where(Session.id == session_id))
    if user_id is not None:
        _end(user_id, Session.id == session_id, reason="signed_out")


def sign_out_everywhere(user_id: UUID, keep: UUID | None) -> None:
    """End all sessions of a user, except one when `keep` names it; raises NotFound for no user."""
    users.get(user_id)
    end_all(user_id, keep, reason="signed_out")


def end_all(user_id: UUID, keep: UUID | None, reason: str) -> None:
    """End all sessions of a user, except one when `keep` names it."""
    others = [] if keep is None else [Session.id != keep]
    _end(user_id, *others, reason=reason)


def end_with_user(event: UserDeleted) -> None:
    """End all sessions of a user who was deleted, and tell that the user ended as well."""
    end_all(event.user_id, None, reason="user_deleted")
    revocations.add(event.user_id, [None], reason="user_deleted")


def authorization_server() -> dict[str, Any]:
    """Return where to find what verifies access tokens."""
    url = setting(PUBLIC_URL)
    return {
        "issuer": url,
        "jwks_uri": f"{url}/.well-known/jwks.json",
        "revocations_uri": f"{url}/v1/revocations",
        "service_documentation": f"{url}/openapi.json",
        "response_types_supported": [],
        "grant_types_supported": [],
    }


def _start(user: User, device_name: str | None, device: Device) -> Session:
    """Start a session of a user who is locked; the oldest beyond the cap end, long dead ones go."""
    now = clock.now()
    session = Session(
        id=new_id(),
        user_id=user.id,
        generation=0,
        confirmed=True,
        device_name=device_name,
        ip=device.ip,
        user_agent=device.user_agent,
        amr=["pwd"],
        created_at=now,
        authenticated_at=now,
        last_used_at=now,
        expires_at=now + timedelta(seconds=setting(ABSOLUTE_SECONDS)),
    )
    db.session.add(session)
    db.session.flush()
    emit(SessionStarted(user.id, session.id))
    _end_surplus(user.id)
    long_ago = now - timedelta(days=KEPT_DAYS)
    dead = sa.or_(Session.ended_at < long_ago, Session.expires_at < long_ago)
    db.session.execute(sa.delete(Session).where(Session.user_id == user.id, dead))
    return session


def _end_surplus(user_id: UUID) -> None:
    newest_first = (Session.created_at.desc(), Session.id.desc())
    live = sa.select(Session.id).where(Session.user_id == user_id, *_LIVE).order_by(*newest_first)
    _end(user_id, Session.id.in_(live.offset(setting(SESSIONS_PER_USER))), reason="evicted")


def _read_refresh_token(refresh_token: str) -> tuple[UUID, int]:
    try:
        return tokens.read_refresh_token(refresh_token)
    except InvalidRefreshToken:
        emit(RefreshTokenForged())
        raise


def _live_at(now: datetime) -> dict[str, Any]:
    """Return the parameters of _LIVE."""
    return {"now": now, "idle_since": now - timedelta(seconds=setting(IDLE_SECONDS))}


def _not_rotated(session_id: UUID, generation: int, live: dict[str, Any]) -> Session:
    """Return the session of the token before the current one, while that may be shown; else refuse."""
    query = sa.select(Session).where(Session.id == session_id, *_LIVE, _OF_ACTIVE_USER).with_for_update()
    session = db.session.scalar(query, live)
    if session is None:
        emit(RefreshAfterEnd(session_id))
        raise SessionEnded()
    overlap = timedelta(seconds=setting(OVERLAP_SECONDS))
    is_previous = session.generation == generation + 1
    is_recent = session.rotated_at is not None and live["now"] - session.rotated_at <= overlap
    if is_previous and (is_recent or not session.confirmed):
        return session
    emit(RefreshTokenReuse(session.user_id, session_id))
    _end(session.user_id, Session.id == session_id, reason="refresh_token_reused")
    raise RefreshTokenReused()


def _end(user_id: UUID, *where: sa.ColumnElement[bool], reason: str) -> bool:
    """End those sessions of a user that are not yet ended, and return whether there was one."""
    now = clock.now()
    end = sa.update(Session).where(Session.user_id == user_id, *where, Session.ended_at.is_(None))
    end = end.values(ended_at=now, ended_because=reason).returning(Session.id)
    ended = tuple(db.session.scalars(end, _live_at(now)))
    if ended:
        emit(SessionsEnded(user_id, ended, reason))
        revocations.add(user_id, ended, reason)
    return bool(ended)


def _with_tokens(key: Key, session: Session, user: User) -> dict[str, Any]:
    access = tokens.make_access_token(
        key,
        user.id,
        {
            "sid": str(session.id),
            "gen": session.generation,
            "roles": user.roles,
            "scope": " ".join(sorted(users.permissions_of(user.roles))),
            "amr": session.amr,
            "auth_time": int(session.authenticated_at.timestamp()),
        },
        not_after=session.expires_at,
    )
    return {
        "session": _described(session, session.id),
        "user": user,
        "access_token": access.text,
        "token_type": "Bearer",
        "expires_in": max(0, int((access.expires_at - clock.now()).total_seconds())),
        "expires_at": access.expires_at,
        "refresh_token": tokens.make_refresh_token(session.id, session.generation),
    }


def _described(session: Session, current: UUID | None) -> dict[str, Any]:
    idle_end = session.last_used_at + timedelta(seconds=setting(IDLE_SECONDS))
    return {
        "id": session.id,
        "device_name": session.device_name,
        "user_agent": session.user_agent,
        "ip": session.ip,
        "amr": session.amr,
        "created_at": session.created_at,
        "last_used_at": session.last_used_at,
        "expires_at": min(session.expires_at, idle_end),
        "current": session.id == current,
    }
