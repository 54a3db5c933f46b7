"""Roles and who has them, suspension, and whom it is about what is owed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_MEMBERS = {
    "postgresql": "INSERT INTO role_members (role, user_id) "
    "SELECT DISTINCT listed.role, users.id FROM users, json_array_elements_text(users.roles) AS listed(role)",
    "sqlite": "INSERT INTO role_members (role, user_id) "
    "SELECT DISTINCT listed.value, users.id FROM users, json_each(users.roles) AS listed",
}


def upgrade() -> None:
    op.create_table(
        "roles",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("summary", sa.String(200), nullable=False),
        sa.Column("permissions", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_roles"),
    )
    op.create_table(
        "role_members",
        sa.Column("role", sa.String(40), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_role_members_user_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("role", "user_id", name="pk_role_members"),
    )
    op.create_index("ix_role_members_user_id", "role_members", ["user_id"])
    op.execute(_MEMBERS[op.get_bind().dialect.name])
    op.add_column("users", sa.Column("suspended_at", sa.DateTime(timezone=True)))
    op.add_column("users", sa.Column("suspended_until", sa.DateTime(timezone=True)))
    op.add_column("users", sa.Column("suspension_reason", sa.String(500)))
    for column in ("suspended_until", "deleted_at"):
        has_one = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_users_{column}", "users", [column], postgresql_where=has_one, sqlite_where=has_one
        )
    op.add_column("outbox", sa.Column("about", sa.Uuid()))
    op.create_index("ix_outbox_about", "outbox", ["about"])


def downgrade() -> None:
    op.drop_index("ix_outbox_about", "outbox")
    op.drop_column("outbox", "about")
    for column in ("deleted_at", "suspended_until"):
        op.drop_index(f"ix_users_{column}", "users")
    for column in ("suspension_reason", "suspended_until", "suspended_at"):
        op.drop_column("users", column)
    op.drop_table("role_members")
    op.drop_table("roles")
