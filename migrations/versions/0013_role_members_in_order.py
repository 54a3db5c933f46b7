"""Who has a role, in the order of the list of users."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_INDEX = "ix_role_members_role_created_at_user_id"


def upgrade() -> None:
    op.add_column("role_members", sa.Column("created_at", sa.DateTime(timezone=True)))
    op.execute("UPDATE role_members SET created_at = (SELECT created_at FROM users WHERE users.id = user_id)")
    with op.batch_alter_table("role_members") as table:
        table.alter_column("created_at", nullable=False)
    op.create_index(_INDEX, "role_members", ["role", "created_at", "user_id"])


def downgrade() -> None:
    op.drop_index(_INDEX, "role_members")
    with op.batch_alter_table("role_members") as table:
        table.drop_column("created_at")
