"""What is stored of sessions: one row a signed-in device, and no token; signing keys; what ended."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from api.kit.db import Base

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # where no other type counts by itself


class Session(Base):
    """A signed-in device.

    `generation` is the number of the one refresh token that is good; `rotated_at` is when the one
    before it was exchanged, and `confirmed` tells whether what came of that exchange was used here: if
    not, its answer may be lost. `authenticated_at` is when the user last proved who they are.
    `expires_at` is the absolute end, which nothing extends.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        sa.Index("ix_sessions_user_id_ended_at_created_at_id", "user_id", "ended_at", "created_at", "id"),
        sa.Index(
            "ix_sessions_ended_at",
            "ended_at",
            postgresql_where=sa.literal_column("ended_at IS NOT NULL"),
            sqlite_where=sa.literal_column("ended_at IS NOT NULL"),
        ),
    )

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
    authenticated_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_because: Mapped[str | None] = mapped_column(sa.String(30))


class SigningKey(Base):
    """A key that signs access tokens, the private half sealed.

    It signs from `signs_from` until one of a higher number does; the rest of the service forgets it
    at `retires_at`, which is set when it has a successor.
    """

    __tablename__ = "signing_keys"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kid: Mapped[str] = mapped_column(sa.String(43), unique=True)
    private_key: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[datetime]
    signs_from: Mapped[datetime]
    retires_at: Mapped[datetime | None]


class Revocation(Base):
    """Something that ended while its tokens may live: a session, or without one a whole user.

    Numbers grow in the order of commits and are not used twice. A row is of no use, and removed,
    once the last token has died.
    """

    __tablename__ = "revocations"
    __table_args__ = (sa.Index("ix_revocations_ended_at", "ended_at"), {"sqlite_autoincrement": True})

    number: Mapped[int] = mapped_column(
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True
    )
    session_id: Mapped[UUID | None]
    user_id: Mapped[UUID]
    reason: Mapped[str] = mapped_column(sa.String(30))
    ended_at: Mapped[datetime]
