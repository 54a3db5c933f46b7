"""Sessions are forgotten long after their end, some at a time."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from api.kit import clock, work
from api.kit.db import db
from api.kit.ids import first_id
from api.kit.service import setting
from api.sessions.models import Session
from api.sessions.service import ABSOLUTE_SECONDS

KEPT = timedelta(days=30)  # after the end
_FORGOTTEN = 1000  # at once


def has_old() -> bool:
    """Tell whether there are sessions to forget."""
    return any(db.session.scalar(some.limit(1)) is not None for some in _old())


def forget_old() -> bool:
    """Forget some sessions that ended long ago, and tell whether there may be more."""
    gone = [_forget(some.limit(_FORGOTTEN)) for some in _old()]
    return max(gone) == _FORGOTTEN


def _old() -> list[sa.Select[Any]]:
    """Return who was ended long ago, by the index of that, and who expired, by the order of the ids."""
    long_ago = clock.now() - KEPT
    longest = timedelta(seconds=setting(ABSOLUTE_SECONDS))
    return [
        sa.select(Session.id).where(Session.ended_at < long_ago),
        sa.select(Session.id).where(Session.id < first_id(long_ago - longest), Session.expires_at < long_ago),
    ]


def _forget(some: sa.Select[Any]) -> int:
    return work.connection().execute(sa.delete(Session).where(Session.id.in_(some))).rowcount
