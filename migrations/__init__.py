"""The history of the database's tables, for SQLite and PostgreSQL (Alembic)."""
