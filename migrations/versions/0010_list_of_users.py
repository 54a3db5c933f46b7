"""What the list of users filters and searches by.

PostgreSQL searches by its extension pg_trgm. SQLite has a table of its FTS5, which numbers what it holds:
the rows of `users` have no numbers that a dump would keep, so `users_search_rows` has them, and triggers
keep both up to date.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from api.kit.searching import searchable  # of today: the service looks for nothing else

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_BATCH = 1000
_USERS = sa.table(
    "users",
    sa.column("id", sa.Uuid()),
    sa.column("username", sa.String()),
    sa.column("email", sa.String()),
    sa.column("display_name", sa.String()),
    sa.column("search_text", sa.String()),
)
_LISTED = {
    "suspended": "status = 'suspended'",
    "deleted": "status = 'deleted'",
    "verified": "email_verified IS TRUE",
    "unverified": "email_verified IS FALSE",
}
_NO_TRIGRAMS = (
    "The search for users needs PostgreSQL's extension pg_trgm, and this role could not create it ({cause}). "
    "Install PostgreSQL's contrib modules if they are missing, let an administrator of the database run "
    "`CREATE EXTENSION pg_trgm`, and migrate again."
)
_FTS5 = (
    "CREATE TABLE users_search_rows (number INTEGER PRIMARY KEY, user_id CHAR(32) NOT NULL UNIQUE)",
    "CREATE VIRTUAL TABLE users_search USING fts5("
    "search_text, content='', columnsize=0, tokenize='trigram case_sensitive 1')",
    "INSERT INTO users_search_rows (user_id) SELECT id FROM users",
    "INSERT INTO users_search (rowid, search_text) SELECT number, search_text FROM users_search_rows "
    "JOIN users ON users.id = user_id",
    """
    CREATE TRIGGER users_search_insert AFTER INSERT ON users BEGIN
        INSERT INTO users_search_rows (user_id) VALUES (new.id);
        INSERT INTO users_search (rowid, search_text) VALUES (last_insert_rowid(), new.search_text);
    END
    """,
    """
    CREATE TRIGGER users_search_update AFTER UPDATE OF search_text ON users
    WHEN old.search_text <> new.search_text BEGIN
        INSERT INTO users_search (users_search, rowid, search_text)
            SELECT 'delete', number, old.search_text FROM users_search_rows WHERE user_id = old.id;
        INSERT INTO users_search (rowid, search_text)
            SELECT number, new.search_text FROM users_search_rows WHERE user_id = old.id;
    END
    """,
    """
    CREATE TRIGGER users_search_delete AFTER DELETE ON users BEGIN
        INSERT INTO users_search (users_search, rowid, search_text)
            SELECT 'delete', number, old.search_text FROM users_search_rows WHERE user_id = old.id;
        DELETE FROM users_search_rows WHERE user_id = old.id;
    END
    """,
)


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        _create_extension(connection)
    op.add_column("users", sa.Column("search_text", sa.Text(), nullable=False, server_default=""))
    _fill(connection)
    for name, condition in _LISTED.items():
        only = sa.text(condition)
        columns = ["created_at", "id"]
        op.create_index(f"ix_users_{name}", "users", columns, postgresql_where=only, sqlite_where=only)
    if connection.dialect.name == "postgresql":
        # How rare a search is has to be told to a thousandth: PostgreSQL tells by that many samples.
        op.execute("ALTER TABLE users ALTER COLUMN search_text SET STATISTICS 1000")
        op.create_index(
            "ix_users_search_text",
            "users",
            ["search_text"],
            postgresql_using="gin",
            postgresql_ops={"search_text": "gin_trgm_ops"},
        )
        return
    for statement in _FTS5:
        op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("ix_users_search_text", "users")  # the extension stays: others may use it
    else:
        for name in ("insert", "update", "delete"):
            op.execute(f"DROP TRIGGER users_search_{name}")
        op.execute("DROP TABLE users_search")
        op.execute("DROP TABLE users_search_rows")
    for name in _LISTED:
        op.drop_index(f"ix_users_{name}", "users")
    op.drop_column("users", "search_text")


def _create_extension(connection: sa.Connection) -> None:
    """Create pg_trgm unless it is there; raises CommandError with what to do about it."""
    if connection.scalar(sa.text("SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'")):
        return
    try:
        connection.execute(sa.text("CREATE EXTENSION pg_trgm"))
    except DBAPIError as error:
        raise CommandError(_NO_TRIGRAMS.format(cause=str(error.orig).splitlines()[0])) from error


def _fill(connection: sa.Connection) -> None:
    fill = (
        _USERS.update().where(_USERS.c.id == sa.bindparam("user_id")).values(search_text=sa.bindparam("text"))
    )
    for users in _batches(connection):
        texts = [
            {"user_id": user.id, "text": searchable([user.username, user.email, user.display_name])}
            for user in users
        ]
        connection.execute(fill, texts)


def _batches(connection: sa.Connection) -> Iterator[Sequence[Any]]:
    """Yield the users, some at a time."""
    last = UUID(int=0)
    query = sa.select(_USERS.c.id, _USERS.c.username, _USERS.c.email, _USERS.c.display_name)
    query = query.order_by(_USERS.c.id).limit(_BATCH)
    while users := connection.execute(query.where(_USERS.c.id > last)).all():
        yield users
        last = users[-1].id
