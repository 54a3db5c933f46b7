"""What can be done with sessions, whoever asks for it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api.kit import clock, work
from api.kit.db import UtcDateTime, db
from api.kit.events import Event
from api.kit.identity import Identity
from api.kit.ids import new_id
from api.kit.pages import Page, page
from api.kit.problems import InvalidToken, NotFound, Problem
from api.kit.service import emit, setting
from api.kit.settings import Setting, integer
from api.sessions import tokens
from api.sessions.models import Session
from api.users import service as users
from api.users.models import ACTIVE, User
from api.users.service import UserDeleted

DAY = 86400  # seconds
IDLE_SECONDS = Setting(
    "SESSION_IDLE_SECONDS", "A session ends when it is not refreshed for so long.", 30 * DAY,
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


# Statements are built once: building one costs more than SQLite takes to answer it.
_LIVE = (
    Session.ended_at.is_(None),
    Session.expires_at > sa.bindparam("now", type_=UtcDateTime()),
    Session.last_used_at > sa.bindparam("idle_since", type_=UtcDateTime()),
)
_OF_ACTIVE_USER = sa.exists().where(User.id == Session.user_id, User.status == ACTIVE).correlate(Session)
_CALLER = (
    sa.select(Session.created_at.label("signed_in_at"), Session.generation, Session.confirmed, *users.ROW)
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
_CONFIRM = (
    sa.update(Session)
    .where(
        Session.id.in_(
            sa.select(Session.id)
            .where(Session.id == sa.bindparam("session_id"), Session.generation == sa.bindparam("used"))
            .with_for_update(skip_locked=True)
        )
    )
    .values(confirmed=True)
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
class RefreshTokenReuse(Event):
    """An old refresh token came back: somebody else may have it. The session was ended."""

    session_id: UUID


@dataclass(frozen=True)
class Device:
    """Where a request comes from."""

    ip: str | None
    user_agent: str | None


def sign_in(identifier: str, password: str, device_name: str | None, device: Device) -> dict[str, Any]:
    """Start a session and return it with its tokens.

    Raises InvalidCredentials, or Overloaded when too many sign up or in.
    """
    user = users.with_password(identifier, password)
    if user is None:
        raise InvalidCredentials()
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
        last_used_at=now,
        expires_at=now + timedelta(seconds=setting(ABSOLUTE_SECONDS)),
    )
    db.session.add(session)
    db.session.flush()
    emit(SessionStarted(user.id, session.id))
    return _with_tokens(session, users.touch(user.id))


def refresh(refresh_token: str) -> dict[str, Any]:
    """Exchange a refresh token and return its session with new tokens.

    The token before the current one gives the current ones again: as long as those were never used,
    for their answer may be lost, and for a while after, for two tabs may ask at once. Raises
    InvalidRefreshToken, SessionEnded, or RefreshTokenReused, which ends the session.
    """
    session_id, generation = tokens.read_refresh_token(refresh_token)
    live = _live_at(clock.now())
    presented = {"session_id": session_id, "presented": generation}
    session = db.session.scalar(_ROTATE, presented | live) or _not_rotated(session_id, generation, live)
    return _with_tokens(session, users.touch(session.user_id))


def authenticate(access_token: str) -> Identity:
    """Return whose token it is; raises InvalidToken unless its session and its user are live.

    One query: a session that was signed out is refused at the next request. The first use of what a
    refresh gave is noted as well, once, and by the next use when that cannot be done now.
    """
    user_id, session_id, generation = tokens.read_access_token(access_token)
    named = {"session_id": session_id, "user_id": user_id}
    row = work.read_one(_CALLER, named | _live_at(clock.now()))
    if row is None:
        raise InvalidToken()
    if not row.confirmed and row.generation == generation:
        work.note(_CONFIRM, {"session_id": session_id, "used": generation})
    return Identity(user_id, session_id, users.permissions_of(row.roles), row.signed_in_at, record=row)


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
    named = (Session.user_id == user_id, Session.id == session_id)
    if not _end(*named, *_LIVE, because="signed_out"):
        raise NotFound()


def sign_out_here(caller: Identity) -> None:
    """End the caller's own session; that it ended meanwhile is as good."""
    _end(Session.id == caller.session_id, because="signed_out")


def sign_out_everywhere(user_id: UUID, keep: UUID | None) -> None:
    """End all sessions of a user, except one when `keep` names it; raises NotFound for no user."""
    users.get(user_id)
    others = [] if keep is None else [Session.id != keep]
    _end(Session.user_id == user_id, *others, because="signed_out")


def end_with_user(event: UserDeleted) -> None:
    """End all sessions of a user who was deleted."""
    _end(Session.user_id == event.user_id, because="user_deleted")


def _live_at(now: datetime) -> dict[str, Any]:
    """Return the parameters of _LIVE."""
    return {"now": now, "idle_since": now - timedelta(seconds=setting(IDLE_SECONDS))}


def _not_rotated(session_id: UUID, generation: int, live: dict[str, Any]) -> Session:
    """Return the session of the token before the current one, while that may be shown; else refuse."""
    query = sa.select(Session).where(Session.id == session_id, *_LIVE, _OF_ACTIVE_USER).with_for_update()
    session = db.session.scalar(query, live)
    if session is None:
        raise SessionEnded()
    overlap = timedelta(seconds=setting(OVERLAP_SECONDS))
    is_previous = session.generation == generation + 1
    is_recent = session.rotated_at is not None and live["now"] - session.rotated_at <= overlap
    if is_previous and (is_recent or not session.confirmed):
        return session
    _end(Session.id == session_id, because="refresh_token_reused")
    emit(RefreshTokenReuse(session_id))
    raise RefreshTokenReused()


def _end(*where: sa.ColumnElement[bool], because: str) -> int:
    """End the sessions that are not yet ended, and return how many."""
    now = clock.now()
    end = sa.update(Session).where(*where, Session.ended_at.is_(None))
    result = db.session.execute(end.values(ended_at=now, ended_because=because), _live_at(now))
    return int(getattr(result, "rowcount", 0))


def _with_tokens(session: Session, user: User) -> dict[str, Any]:
    access = tokens.make_access_token(
        user.id,
        {
            "sid": str(session.id),
            "gen": session.generation,
            "roles": user.roles,
            "scope": " ".join(sorted(users.permissions_of(user.roles))),
            "amr": session.amr,
            "auth_time": int(session.created_at.timestamp()),
        },
    )
    return {
        "session": _described(session, session.id),
        "user": user,
        "access_token": access.text,
        "token_type": "Bearer",
        "expires_in": int((access.expires_at - clock.now()).total_seconds()),
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
