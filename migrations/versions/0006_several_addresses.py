"""A user's one-time tokens for one purpose may be out at several addresses."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BEFORE = "uq_one_time_tokens_user_id_purpose"
AFTER = "uq_one_time_tokens_user_id_purpose_address"


def upgrade() -> None:
    with op.batch_alter_table("one_time_tokens") as batch:
        batch.drop_constraint(BEFORE, type_="unique")
        batch.create_unique_constraint(AFTER, ["user_id", "purpose", "address"])


def downgrade() -> None:
    op.execute("DELETE FROM one_time_tokens")  # whoever waits for a letter asks for another
    with op.batch_alter_table("one_time_tokens") as batch:
        batch.drop_constraint(AFTER, type_="unique")
        batch.create_unique_constraint(BEFORE, ["user_id", "purpose"])
