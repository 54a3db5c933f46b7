"""Imports of users."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_COUNTS = ("position", "line", "rows", "created", "updated", "skipped", "refused")


def upgrade() -> None:
    op.create_table(
        "user_imports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_by", sa.Uuid()),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("format", sa.String(10), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("on_conflict", sa.String(10), nullable=False),
        sa.Column("may_grant", sa.Boolean(), nullable=False),
        sa.Column("digest", sa.String(64)),
        sa.Column("header", sa.JSON()),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COUNTS),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("touched_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("error", sa.String(40)),
        sa.PrimaryKeyConstraint("id", name="pk_user_imports"),
    )
    op.create_index("ix_user_imports_created_at_id", "user_imports", ["created_at", "id"])
    op.create_index("ix_user_imports_digest", "user_imports", ["digest"])
    _create_part(
        "user_import_chunks",
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        key=["start"],
    )
    _create_part(
        "user_import_refusals",
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(40), nullable=False),
        sa.Column("pointer", sa.String(200), nullable=False),
        sa.Column("detail", sa.String(300), nullable=False),
        key=["line", "number"],
    )
    digest = sa.Column("digest", sa.LargeBinary(16), nullable=False)
    _create_part("user_import_claims", digest, key=["digest"])


def downgrade() -> None:
    for table in ("user_import_claims", "user_import_refusals", "user_import_chunks", "user_imports"):
        op.drop_table(table)


def _create_part(name: str, *columns: sa.Column[Any], key: list[str]) -> None:
    """Create a table of what belongs to imports, and goes with them."""
    op.create_table(
        name,
        sa.Column("import_id", sa.Uuid(), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("import_id", *key, name=f"pk_{name}"),
        sa.ForeignKeyConstraint(
            ["import_id"], ["user_imports.id"], name=f"fk_{name}_import_id", ondelete="CASCADE"
        ),
    )
