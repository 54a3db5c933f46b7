"""The end of deleted users: what is held about them is erased when their time is over."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api.kit import clock, one_time, outbox
from api.kit.db import db
from api.kit.events import Event
from api.kit.service import emit, setting
from api.kit.settings import Setting, integer
from api.users.models import DELETED, User

ERASURE_DAYS = Setting(
    "ERASURE_DAYS",
    "So long after its deletion an account is erased for good; until then an administrator can restore it.",
    30,
    integer(1, 3650),
)
_BATCH = 50  # users in one transaction: some may have thousands of sessions


@dataclass(frozen=True)
class UsersErased(Event):
    """Users are about to be gone for good: whoever holds something about them erases it now.

    Rows that refer to a user with `ON DELETE CASCADE` go by themselves.
    """

    actions = ("users_erased",)
    user_ids: tuple[UUID, ...]

    def details(self) -> dict[str, Any]:
        return {"user_ids": [str(user_id) for user_id in self.user_ids]}


def has_due() -> bool:
    return db.session.scalar(_due().limit(1)) is not None


def erase_due() -> bool:
    """Erase some users whose time is over, the longest deleted first, and tell whether there were any."""
    locked = _due().order_by(User.deleted_at).limit(_BATCH).with_for_update(skip_locked=True)
    ids = tuple(db.session.scalars(locked))
    if ids:
        emit(UsersErased(ids))
        one_time.erase(ids)
        outbox.erase(ids)
        gone = sa.delete(User).where(User.id.in_(ids))
        db.session.execute(gone.execution_options(synchronize_session=False))
    return bool(ids)


def _due() -> sa.Select[UUID]:
    end = clock.now() - timedelta(days=setting(ERASURE_DAYS))
    return sa.select(User.id).where(User.deleted_at <= end, User.status == DELETED)
