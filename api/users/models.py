"""Users as they are stored, roles, and who has which."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from api.kit.db import Base
from api.kit.searching import searchable

ACTIVE = "active"
SUSPENDED = "suspended"
DELETED = "deleted"
NO_PASSWORD = "!"  # noqa: S105  # the hash of a user who has none: no password is right, at the same cost


def _of_few(column: str) -> sa.Index:
    """Return an index of the few users who have a value there."""
    has_one = sa.text(f"{column} IS NOT NULL")
    return sa.Index(f"ix_users_{column}", column, postgresql_where=has_one, sqlite_where=has_one)


# Who has an index of the list's order of their own; who asks for it has to spell it alike. (A type
# would make SQLAlchemy spell it otherwise on SQLite.)
LISTED: dict[str, sa.ColumnElement[Any]] = {
    SUSPENDED: sa.literal_column("status = 'suspended'"),
    DELETED: sa.literal_column("status = 'deleted'"),
    "verified": sa.literal_column("email_verified IS TRUE"),
    "unverified": sa.literal_column("email_verified IS FALSE"),
}


_SEARCHED = ("username", "email", "display_name")


def _search_text(context: Any) -> str:
    """Return a new row's text to search, from its other columns."""
    row = context.get_current_parameters()
    return searchable(row.get(name) for name in _SEARCHED)


class User(Base):
    """An account.

    A `..._key` column holds what makes an identifier unique, as `identifiers` makes it. Names that look
    alike have one skeleton, which is unique as well; a user from before may lack it (migration 0005).
    A pending address becomes the user's when it is confirmed; until then it is reserved for nobody.
    `search_text` follows from the names and the address whenever a user is written; what it is searched by
    is another thing on each database, and made by migration 0010 alone.
    A suspension without an end lasts until it is lifted. Roles are here to be read with the user, and in
    `role_members` to be searched by. `version` counts the changes to what the user and administrators write.
    `last_seen_at` has no index: each refresh would write to every index that there is.
    """

    __tablename__ = "users"
    __table_args__ = (
        sa.UniqueConstraint("username_key"),
        sa.UniqueConstraint("email_key"),
        sa.Index("uq_users_username_skeleton", "username_skeleton", unique=True),
        sa.Index("ix_users_created_at_id", "created_at", "id"),
        _of_few("suspended_until"),
        _of_few("deleted_at"),
        *(
            sa.Index(f"ix_users_{name}", "created_at", "id", postgresql_where=only, sqlite_where=only)
            for name, only in LISTED.items()
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username: Mapped[str | None] = mapped_column(sa.String(80))
    username_key: Mapped[str | None] = mapped_column(sa.String(80))
    username_skeleton: Mapped[str | None] = mapped_column(sa.String(160))
    email: Mapped[str | None] = mapped_column(sa.String(254))
    email_key: Mapped[str | None] = mapped_column(sa.String(254))
    email_verified: Mapped[bool]
    pending_email: Mapped[str | None] = mapped_column(sa.String(254))
    pending_email_key: Mapped[str | None] = mapped_column(sa.String(254))
    password_hash: Mapped[str] = mapped_column(sa.String(255))
    password_changed_at: Mapped[datetime]
    display_name: Mapped[str | None] = mapped_column(sa.String(200))
    search_text: Mapped[str] = mapped_column(sa.Text, default=_search_text, server_default="")
    locale: Mapped[str | None] = mapped_column(sa.String(35))
    status: Mapped[str] = mapped_column(sa.String(20))
    roles: Mapped[list[str]]
    user_metadata: Mapped[dict[str, Any]] = mapped_column("metadata")
    app_metadata: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    last_seen_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    suspended_at: Mapped[datetime | None]
    suspended_until: Mapped[datetime | None]
    suspension_reason: Mapped[str | None] = mapped_column(sa.String(500))
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}


@sa.event.listens_for(User, "before_update")
def _follow(_mapper: object, _connection: sa.Connection, user: User) -> None:
    """Let the text to search follow what it is made of, whoever changes that."""
    user.search_text = searchable(getattr(user, name) for name in _SEARCHED)


class Role(Base):
    """A name for a set of permissions. `admin`, which has every one that there is, is no row."""

    __tablename__ = "roles"

    name: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    summary: Mapped[str] = mapped_column(sa.String(200))
    permissions: Mapped[list[str]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}


# Spelt out: a parameter would make SQLite plan anew at each execution, for the partial indexes by status.
IS_ACTIVE = User.status == sa.literal_column(f"'{ACTIVE}'", sa.String())


class RoleMember(Base):
    """That a user has a role: the same as `User.roles` says, in the form to search by.

    `created_at` is when the user was created, for the list is in that order.
    """

    __tablename__ = "role_members"
    __table_args__ = (
        sa.Index("ix_role_members_user_id", "user_id"),
        sa.Index("ix_role_members_role_created_at_user_id", "role", "created_at", "user_id"),
    )

    role: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    created_at: Mapped[datetime]
