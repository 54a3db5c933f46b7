"""When a session is live, how it ends, and who is told: services that verify tokens by themselves as well."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api.kit import clock, work
from api.kit.db import UtcDateTime, among, db
from api.kit.events import Event
from api.kit.service import emit, setting
from api.kit.settings import Setting, integer
from api.sessions.keys import ACCESS_TOKEN_SECONDS, CLOCK_SKEW_SECONDS
from api.sessions.models import Revocation, Session
from api.users.erasure import UsersErased

DAY = 86400  # seconds
NAMED_MAXIMUM = 20  # sessions that an entry of the audit trail names
IDLE_SECONDS = Setting(
    "SESSION_IDLE_SECONDS", "A session ends when it is not used for so long.", 30 * DAY,
    integer(60, 3650 * DAY),
)  # fmt: skip
LIVE = (
    Session.ended_at.is_(None),
    Session.expires_at > sa.bindparam("now", type_=UtcDateTime()),
    Session.last_used_at > sa.bindparam("idle_since", type_=UtcDateTime()),
)


@dataclass(frozen=True)
class SessionsEnded(Event):
    """Sessions of a user ended, before their time."""

    actions = ("sessions_ended",)
    user_id: UUID
    session_ids: tuple[UUID, ...]
    reason: str

    def details(self) -> dict[str, Any]:
        """Return why, how many, and which: the first of them, for there may be thousands."""
        named = [str(session_id) for session_id in self.session_ids[:NAMED_MAXIMUM]]
        return {"reason": self.reason, "count": len(self.session_ids), "session_ids": named}


def live_at(now: datetime) -> dict[str, Any]:
    """Return the parameters of LIVE."""
    return {"now": now, "idle_since": now - timedelta(seconds=setting(IDLE_SECONDS))}


def end(user_id: UUID, *where: sa.ColumnElement[bool], reason: str) -> bool:
    """End those sessions of a user that are not yet ended, and return whether there was one.

    Say it last in a unit of work: revocations take turns until it ends.
    """
    now = clock.now()
    ending = _ending(reason, now, Session.user_id == user_id, *where).returning(Session.id)
    ended = tuple(db.session.scalars(ending, live_at(now)))
    if ended:
        emit(SessionsEnded(user_id, ended, reason))
        _tell([(user_id, session_id) for session_id in ended], reason)
    return bool(ended)


def end_user(user_id: UUID, reason: str) -> None:
    """End all sessions of a user, and tell that the user ended as well."""
    end(user_id, reason=reason)
    _tell([(user_id, None)], reason)


def end_users(user_ids: Sequence[UUID], reason: str) -> None:
    """End all sessions of users, by one statement, and tell that the users ended as well."""
    ending = _ending(reason, clock.now(), among(Session.user_id, user_ids))
    ended: dict[UUID, list[UUID]] = defaultdict(list)
    for user_id, session_id in db.session.execute(ending.returning(Session.user_id, Session.id)):
        ended[user_id].append(session_id)
    for user_id, session_ids in ended.items():
        emit(SessionsEnded(user_id, tuple(session_ids), reason))
    sessions = [(user_id, session_id) for user_id in ended for session_id in ended[user_id]]
    _tell([*sessions, *((user_id, None) for user_id in user_ids)], reason)


def _ending(reason: str, now: datetime, *where: sa.ColumnElement[bool]) -> sa.Update:
    """Return the statement that ends sessions, which locks them in the order of their ids.

    Without an order, two requests that end the same sessions can wait for each other on PostgreSQL.
    """
    is_open = Session.ended_at.is_(None)
    locked = sa.select(Session.id).where(*where, is_open).order_by(Session.id).with_for_update()
    return (
        sa.update(Session).where(Session.id.in_(locked), is_open).values(ended_at=now, ended_because=reason)
    )


def revocations(since: int, limit: int) -> dict[str, Any]:
    """Return the next `limit` revocations after a number, and the number to ask with next."""
    query = sa.select(Revocation).where(Revocation.number > since).order_by(Revocation.number)
    rows = db.session.scalars(query.limit(limit + 1)).all()
    items = rows[:limit]
    return {
        "items": [_described(revocation) for revocation in items],
        "next_since": items[-1].number if items else since,
        "more": len(rows) > limit,
    }


def erase(event: UsersErased) -> None:
    """Forget the revocations of users who are erased; their sessions go with them."""
    gone = sa.delete(Revocation).where(Revocation.user_id.in_(event.user_ids))
    db.session.execute(gone.execution_options(synchronize_session=False))


def _tell(endings: Sequence[tuple[UUID, UUID | None]], reason: str) -> None:
    """Add revocations, of users' sessions or with None of the users; forget those of no use any more.

    The turn is held until the unit of work ends: whoever has read a number has read all below it.
    """
    work.in_turn("revocations")
    now = clock.now()
    db.session.execute(sa.delete(Revocation).where(Revocation.ended_at < now - _useful()))
    rows = [
        {"session_id": session_id, "user_id": user_id, "reason": reason, "ended_at": now}
        for user_id, session_id in endings
    ]
    if rows:
        db.session.execute(sa.insert(Revocation), rows)


def _described(revocation: Revocation) -> dict[str, Any]:
    return {
        "session_id": revocation.session_id,
        "user_id": revocation.user_id,
        "reason": revocation.reason,
        "ended_at": revocation.ended_at,
        "forget_at": revocation.ended_at + _useful(),
    }


def _useful() -> timedelta:
    """Return how long after it ended a token of something may be taken for good elsewhere."""
    return timedelta(seconds=setting(ACCESS_TOKEN_SECONDS) + 2 * setting(CLOCK_SKEW_SECONDS))
