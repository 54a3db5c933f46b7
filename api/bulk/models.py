"""Imports as they are stored."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from api.kit.db import Base

UPLOADING = "uploading"
WAITING = "waiting"
RUNNING = "running"
FINISHED = "finished"
FAILED = "failed"
OPEN = (WAITING, RUNNING)

_Count = sa.BigInteger


class UserImport(Base):
    """A file of users, and how far it was brought in.

    Everything up to `position`, in bytes, and `line` is done: that and the counts change in the transaction
    that writes the rows. A file of the shell is known by its `digest` again; others are kept in chunks.
    `header` is a CSV file's. `may_grant` tells whether who brings it may give roles, and change who has them.
    """

    __tablename__ = "user_imports"
    __table_args__ = (
        sa.Index("ix_user_imports_created_at_id", "created_at", "id"),
        sa.Index("ix_user_imports_digest", "digest"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    created_by: Mapped[UUID | None]
    status: Mapped[str] = mapped_column(sa.String(20))
    format: Mapped[str] = mapped_column(sa.String(10))
    dry_run: Mapped[bool]
    on_conflict: Mapped[str] = mapped_column(sa.String(10))
    may_grant: Mapped[bool]
    digest: Mapped[str | None] = mapped_column(sa.String(64))
    header: Mapped[list[str] | None]
    bytes: Mapped[int] = mapped_column(_Count)
    position: Mapped[int] = mapped_column(_Count, default=0)
    line: Mapped[int] = mapped_column(_Count, default=0)
    rows: Mapped[int] = mapped_column(_Count, default=0)
    created: Mapped[int] = mapped_column(_Count, default=0)
    updated: Mapped[int] = mapped_column(_Count, default=0)
    skipped: Mapped[int] = mapped_column(_Count, default=0)
    refused: Mapped[int] = mapped_column(_Count, default=0)
    created_at: Mapped[datetime]
    touched_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(sa.String(40))


def _import_id() -> Mapped[UUID]:
    return mapped_column(sa.ForeignKey("user_imports.id", ondelete="CASCADE"), primary_key=True)


class ImportChunk(Base):
    """A part of a file from `start` on: compressed, and sealed, for it may hold passwords."""

    __tablename__ = "user_import_chunks"

    import_id: Mapped[UUID] = _import_id()
    start: Mapped[int] = mapped_column(_Count, primary_key=True, autoincrement=False)
    size: Mapped[int]
    content: Mapped[bytes]


class ImportRefusal(Base):
    """One thing that is wrong with a row, which was left out for it."""

    __tablename__ = "user_import_refusals"

    import_id: Mapped[UUID] = _import_id()
    line: Mapped[int] = mapped_column(_Count, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(sa.String(40))
    pointer: Mapped[str] = mapped_column(sa.String(200))
    detail: Mapped[str] = mapped_column(sa.String(300))


class ImportClaim(Base):
    """What a row of a dry run would have taken: an identifier's digest, kept until the run ends."""

    __tablename__ = "user_import_claims"

    import_id: Mapped[UUID] = _import_id()
    digest: Mapped[bytes] = mapped_column(sa.LargeBinary(16), primary_key=True)
