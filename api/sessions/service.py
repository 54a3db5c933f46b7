"""What can be done with sessions, whoever asks for it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api.kit import clock
from api.kit.db import db
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
    "REFRESH_OVERLAP_SECONDS", "For so long an exchanged refresh token gives its successor again.", 30,
    integer(0, 300),
)  # fmt: skip


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
    return _with_tokens(session, user)


def refresh(refresh_token: str) -> dict[str, Any]:
    """Exchange a refresh token and return its session with new tokens.

    The token before the current one gives the current ones again for a while: an answer may get
    lost, and two tabs may ask at once. Raises InvalidRefreshToken, SessionEnded, or
    RefreshTokenReused, which ends the session.
    """
    session_id, generation = tokens.read_refresh_token(refresh_token)
    now = clock.now()
    rotate = (
        sa.update(Session)
        .where(Session.id == session_id, Session.generation == generation, *_is_live(now))
        .values(generation=generation + 1, rotated_at=now, last_used_at=now)
        .returning(Session)
    )
    session = db.session.scalar(rotate) or _not_rotated(session_id, generation, now)
    return _with_tokens(session, users.get(session.user_id))


def authenticate(access_token: str) -> Identity:
    """Return whose token it is; raises InvalidToken unless its session and its user are live.

    One query: a session that was signed out is refused at the next request.
    """
    user_id, session_id = tokens.read_access_token(access_token)
    query = sa.select(Session, User).join(User, User.id == Session.user_id)
    query = query.where(Session.id == session_id, Session.user_id == user_id, *_is_live(clock.now()))
    found = db.session.execute(query).one_or_none()
    if found is None:
        raise InvalidToken()
    session, user = found
    return Identity(user.id, session.id, users.permissions_of(user), session.created_at, record=user)


def list_page(user_id: UUID, current: UUID | None, *, limit: int, cursor: str | None) -> Page:
    """Return a page of a user's live sessions, the newest first; raises NotFound for no user."""
    users.get(user_id)
    query = sa.select(Session).where(Session.user_id == user_id, *_is_live(clock.now()))
    order = (Session.created_at, Session.id)
    filters = {"user_id": str(user_id)}
    found = page(query, order, descending=True, limit=limit, cursor=cursor, filters=filters)
    return Page([_described(session, current) for session in found.items], found.next_cursor)


def sign_out(user_id: UUID, session_id: UUID | None) -> None:
    """End one session of a user; raises NotFound when it is none, or has ended."""
    live = _is_live(clock.now())
    if not _end(Session.user_id == user_id, Session.id == session_id, *live, because="signed_out"):
        raise NotFound()


def sign_out_everywhere(user_id: UUID, keep: UUID | None) -> None:
    """End all sessions of a user, except one when `keep` names it; raises NotFound for no user."""
    users.get(user_id)
    others = [] if keep is None else [Session.id != keep]
    _end(Session.user_id == user_id, *others, because="signed_out")


def end_with_user(event: UserDeleted) -> None:
    """End all sessions of a user who was deleted."""
    _end(Session.user_id == event.user_id, because="user_deleted")


def _is_live(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    idle_since = now - timedelta(seconds=setting(IDLE_SECONDS))
    return (
        Session.ended_at.is_(None),
        Session.expires_at > now,
        Session.last_used_at > idle_since,
        sa.exists().where(User.id == Session.user_id, User.status == ACTIVE).correlate(Session),
    )


def _not_rotated(session_id: UUID, generation: int, now: datetime) -> Session:
    """Return the session of the token before the current one, within the overlap; else refuse."""
    query = sa.select(Session).where(Session.id == session_id, *_is_live(now)).with_for_update()
    session = db.session.scalar(query)
    if session is None:
        raise SessionEnded()
    overlap = timedelta(seconds=setting(OVERLAP_SECONDS))
    if session.generation == generation + 1 and session.rotated_at and now - session.rotated_at <= overlap:
        return session
    _end(Session.id == session_id, because="refresh_token_reused")
    emit(RefreshTokenReuse(session_id))
    raise RefreshTokenReused()


def _end(*where: sa.ColumnElement[bool], because: str) -> int:
    """End the sessions that are not yet ended, and return how many."""
    end = sa.update(Session).where(*where, Session.ended_at.is_(None))
    result = db.session.execute(end.values(ended_at=clock.now(), ended_because=because))
    return int(getattr(result, "rowcount", 0))


def _with_tokens(session: Session, user: User) -> dict[str, Any]:
    users.touch(user.id)
    access = tokens.make_access_token(
        user.id,
        {
            "sid": str(session.id),
            "roles": user.roles,
            "scope": " ".join(sorted(users.permissions_of(user))),
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
