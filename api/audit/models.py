"""What is kept of deeds: entries that nobody changes, and the chain of seals over them."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from api.kit.db import Base

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class AuditEvent(Base):
    """Who did what to whom, from where; triggers refuse to change or delete it (migration 0008).

    `mac` shows that the service wrote it, and wrote it so. Nothing refers to users: entries outlast them.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        sa.Index("ix_audit_events_at_id", "at", "id"),
        sa.Index("ix_audit_events_action_at_id", "action", "at", "id"),
        sa.Index("ix_audit_events_actor_id_at_id", "actor_id", "at", "id"),
        sa.Index("ix_audit_events_subject_id_at_id", "subject_id", "at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    action: Mapped[str] = mapped_column(sa.String(60))
    actor_kind: Mapped[str] = mapped_column(sa.String(20))
    actor_id: Mapped[UUID | None]
    session_id: Mapped[UUID | None]
    ip: Mapped[str | None] = mapped_column(sa.String(45))
    request_id: Mapped[str | None] = mapped_column(sa.String(128))
    subject_id: Mapped[UUID | None]
    details: Mapped[dict[str, Any]]
    mac: Mapped[bytes] = mapped_column(sa.LargeBinary(32))


class AuditUnsealed(Base):
    """An entry that waits for its seal; a trigger adds it with the entry, in the same transaction."""

    __tablename__ = "audit_unsealed"

    event_id: Mapped[UUID] = mapped_column(primary_key=True)


class AuditSeal(Base):
    """A link of the chain: `hash` covers an entry and the link before. Triggers guard it as well."""

    __tablename__ = "audit_seals"

    number: Mapped[int] = mapped_column(_BIG, primary_key=True, autoincrement=False)
    event_id: Mapped[UUID] = mapped_column(unique=True)
    hash: Mapped[bytes] = mapped_column(sa.LargeBinary(32))
