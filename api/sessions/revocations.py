"""What ended while tokens of it may live, for services that verify tokens by themselves."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api.kit import clock, work
from api.kit.db import db
from api.kit.service import setting
from api.sessions.keys import ACCESS_TOKEN_SECONDS, CLOCK_SKEW_SECONDS
from api.sessions.models import Revocation


def add(user_id: UUID, session_ids: Sequence[UUID | None], reason: str) -> None:
    """Tell that sessions of a user ended, or with None the user; forget what is of no use any more.

    The turn is held until the unit of work ends, so a reader who has seen a number has seen all below
    it: say this last.
    """
    work.in_turn("revocations")
    now = clock.now()
    db.session.execute(sa.delete(Revocation).where(Revocation.ended_at < now - _useful()))
    rows = [
        {"session_id": session_id, "user_id": user_id, "reason": reason, "ended_at": now}
        for session_id in session_ids
    ]
    db.session.execute(sa.insert(Revocation), rows)


def since(number: int, limit: int) -> dict[str, Any]:
    """Return the next `limit` revocations after a number, and the number to ask with next."""
    query = sa.select(Revocation).where(Revocation.number > number).order_by(Revocation.number)
    rows = db.session.scalars(query.limit(limit + 1)).all()
    items = rows[:limit]
    return {
        "items": [_described(revocation) for revocation in items],
        "next_since": items[-1].number if items else number,
        "more": len(rows) > limit,
    }


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
