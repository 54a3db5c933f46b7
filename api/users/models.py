"""Users as they are stored."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from api.kit.db import Base

ACTIVE = "active"
DELETED = "deleted"


class User(Base):
    """An account.

    A `..._key` column holds what makes an identifier unique, as `identifiers` makes it. A pending
    address becomes the user's when it is confirmed; until then it is reserved for nobody.
    `version` counts the changes to what the user and administrators write.
    """

    __tablename__ = "users"
    __table_args__ = (
        sa.UniqueConstraint("username_key"),
        sa.UniqueConstraint("email_key"),
        sa.Index("ix_users_created_at_id", "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username: Mapped[str | None] = mapped_column(sa.String(80))
    username_key: Mapped[str | None] = mapped_column(sa.String(80))
    email: Mapped[str | None] = mapped_column(sa.String(254))
    email_key: Mapped[str | None] = mapped_column(sa.String(254))
    email_verified: Mapped[bool]
    pending_email: Mapped[str | None] = mapped_column(sa.String(254))
    pending_email_key: Mapped[str | None] = mapped_column(sa.String(254))
    password_hash: Mapped[str] = mapped_column(sa.String(255))
    password_changed_at: Mapped[datetime]
    display_name: Mapped[str | None] = mapped_column(sa.String(200))
    locale: Mapped[str | None] = mapped_column(sa.String(35))
    status: Mapped[str] = mapped_column(sa.String(20))
    roles: Mapped[list[str]]
    user_metadata: Mapped[dict[str, Any]] = mapped_column("metadata")
    app_metadata: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    last_seen_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}
