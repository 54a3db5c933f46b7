"""The refresh rule: what each refresh token of a session gets, whatever races, is lost or is stolen."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api.kit import clock
from api.kit.db import UtcDateTime, db
from api.kit.events import Event
from api.kit.queries import Query
from api.kit.service import emit, setting
from api.kit.settings import Limit, Setting, integer, limit
from api.sessions import tokens
from api.sessions.endings import LIVE, end, live_at
from api.sessions.models import Session
from api.sessions.tokens import InvalidRefreshToken, SignInAgain
from api.users.models import IS_ACTIVE, User

REFRESH_LIMIT = Setting(
    "REFRESH_LIMIT", "Refreshes of one client address (IPv6: /64).", Limit(300, 60), limit
)
OVERLAP_SECONDS = Setting(
    "REFRESH_OVERLAP_SECONDS", "For so long an exchanged token gives its successor again, used or not.", 30,
    integer(0, 300),
)  # fmt: skip
_OF_ACTIVE_USER = sa.exists().where(User.id == Session.user_id, IS_ACTIVE).correlate(Session)
_ROTATE = Query(
    sa.update(Session)
    .where(Session.id == sa.bindparam("session_id"), Session.generation == sa.bindparam("presented"))
    .where(*LIVE, _OF_ACTIVE_USER)
    .values(
        generation=Session.generation + 1,
        confirmed=False,
        rotated_at=sa.bindparam("now", type_=UtcDateTime()),
        last_used_at=sa.bindparam("now", type_=UtcDateTime()),
    )
    .returning(*Session.__table__.columns)
)


class SessionEnded(SignInAgain):
    code = "session_ended"
    title = "The session has ended"
    detail = "The session was signed out, has expired, or its user may not sign in."
    keeps_writes = True  # what was noted of it


class RefreshTokenReused(SignInAgain):
    code = "refresh_token_reused"
    title = "The refresh token was used before"
    detail = "The refresh token was exchanged before, so its session was ended."
    keeps_writes = True


@dataclass(frozen=True)
class RefreshTokenReuse(Event):
    """An old refresh token came back: somebody else may have it. The session was ended."""

    actions = ("authn_token_reuse",)
    user_id: UUID
    session_id: UUID


@dataclass(frozen=True)
class RefreshAfterEnd(Event):
    """A refresh token of a session that has ended was presented; that is no alarm."""

    session_id: UUID


@dataclass(frozen=True)
class RefreshTokenForged(Event):
    """What was presented as a refresh token is not from here."""


def read(refresh_token: str) -> tuple[UUID, int]:
    """Return (session id, generation) of a token of ours; raises InvalidRefreshToken, asking no database."""
    try:
        return tokens.read_refresh_token(refresh_token)
    except InvalidRefreshToken:
        emit(RefreshTokenForged())
        raise


def exchange(session_id: UUID, generation: int) -> Any:
    """Return the session's row, with the generation whose tokens the holder of a generation's token gets.

    The current one is exchanged for the next. The one before it gives the current one again: as long as
    that was never used, for its answer may be lost, and for a while after, for two tabs may ask at
    once. Raises SessionEnded, or RefreshTokenReused, which ends the session.
    """
    live = live_at(clock.now())
    presented = {"session_id": session_id, "presented": generation}
    return _ROTATE.in_unit(presented | live) or _not_rotated(session_id, generation, live)


def _not_rotated(session_id: UUID, generation: int, live: dict[str, Any]) -> Session:
    """Return the session of the token before the current one, while that may be shown; else refuse."""
    query = sa.select(Session).where(Session.id == session_id, *LIVE, _OF_ACTIVE_USER).with_for_update()
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
    end(session.user_id, Session.id == session_id, reason="refresh_token_reused")
    raise RefreshTokenReused()
