"""The live sessions of a user apart from those that ended, and these by when they did."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_BEFORE = "ix_sessions_user_id_created_at_id"
_LIVE = "ix_sessions_user_id_ended_at_created_at_id"
_ENDED = "ix_sessions_ended_at"


def upgrade() -> None:
    op.create_index(_LIVE, "sessions", ["user_id", "ended_at", "created_at", "id"])
    op.drop_index(_BEFORE, "sessions")
    only = sa.text("ended_at IS NOT NULL")
    op.create_index(_ENDED, "sessions", ["ended_at"], postgresql_where=only, sqlite_where=only)


def downgrade() -> None:
    op.drop_index(_ENDED, "sessions")
    op.create_index(_BEFORE, "sessions", ["user_id", "created_at", "id"])
    op.drop_index(_LIVE, "sessions")
