"""PostgreSQL knows which pages of its table hold the users of a period.

A search by text asks for those nearest in the list first: whoever the trigrams find elsewhere is not read.
The index has some bytes for 16 pages. It tells them apart as long as users stand in the table in about the
order in which they were created: so that they stay there, a page keeps room for what changes in them.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_INDEX = "ix_users_search_period"
# With more of them PostgreSQL takes this index for cheaper than that of trigrams, asks it first, and then
# reads whole pages in place of the users whom the other one finds.
_PAGES = 16


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE users SET (fillfactor = 90)")
        op.create_index(
            _INDEX,
            "users",
            ["created_at"],
            postgresql_using="brin",
            postgresql_with={"pages_per_range": _PAGES, "autosummarize": "on"},
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index(_INDEX, "users")
        op.execute("ALTER TABLE users RESET (fillfactor)")
