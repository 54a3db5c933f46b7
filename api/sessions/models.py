"""Sessions as they are stored: one row a signed-in device, and no token."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from api.kit.db import Base


class Session(Base):
    """A signed-in device.

    `generation` is the number of the one refresh token that is good; `rotated_at` is when the one
    before it was exchanged, and `confirmed` tells whether what came of that exchange was used here: if
    not, its answer may be lost. `expires_at` is the absolute end, which nothing extends.
    """

    __tablename__ = "sessions"
    __table_args__ = (sa.Index("ix_sessions_user_id_created_at_id", "user_id", "created_at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    generation: Mapped[int]
    rotated_at: Mapped[datetime | None]
    confirmed: Mapped[bool]
    device_name: Mapped[str | None] = mapped_column(sa.String(100))
    user_agent: Mapped[str | None] = mapped_column(sa.String(500))
    ip: Mapped[str | None] = mapped_column(sa.String(45))
    amr: Mapped[list[str]]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_because: Mapped[str | None] = mapped_column(sa.String(30))
