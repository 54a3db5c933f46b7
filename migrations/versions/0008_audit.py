"""The audit trail: entries and seals that triggers keep from being changed, removed or replaced."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_GUARDED = {"audit_events": ("id",), "audit_seals": ("number", "event_id")}


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(60), nullable=False),
        sa.Column("actor_kind", sa.String(20), nullable=False),
        sa.Column("actor_id", sa.Uuid()),
        sa.Column("session_id", sa.Uuid()),
        sa.Column("ip", sa.String(45)),
        sa.Column("request_id", sa.String(128)),
        sa.Column("subject_id", sa.Uuid()),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("mac", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
    )
    for columns in (["at", "id"], *([name, "at", "id"] for name in ("action", "actor_id", "subject_id"))):
        op.create_index(f"ix_audit_events_{'_'.join(columns)}", "audit_events", columns)
    op.create_table(
        "audit_unsealed",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_audit_unsealed"),
    )
    op.create_table(
        "audit_seals",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit_seals"),
        sa.UniqueConstraint("event_id", name="uq_audit_seals_event_id"),
    )
    if op.get_bind().dialect.name == "sqlite":
        _guard_on_sqlite()
    else:
        _guard_on_postgresql()


def downgrade() -> None:
    for table in ("audit_seals", "audit_unsealed", "audit_events"):
        op.drop_table(table)  # with its triggers
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_refuse")
        op.execute("DROP FUNCTION audit_wait")


def _guard_on_sqlite() -> None:
    for table, unique in _GUARDED.items():
        refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for deed in ("UPDATE", "DELETE"):
            op.execute(f"CREATE TRIGGER {table}_refuse_{deed.lower()} BEFORE {deed} ON {table} {refuse}")
        # REPLACE deletes without asking the trigger of DELETE.
        same = " OR ".join(f"{column} = NEW.{column}" for column in unique)
        when = f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608  # our own names
        op.execute(f"CREATE TRIGGER {table}_refuse_replace BEFORE INSERT ON {table} {when} {refuse}")
    op.execute(
        "CREATE TRIGGER audit_events_wait AFTER INSERT ON audit_events "
        "BEGIN INSERT INTO audit_unsealed (event_id) VALUES (NEW.id); END"
    )


def _guard_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    op.execute(
        "CREATE FUNCTION audit_wait() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO audit_unsealed (event_id) VALUES (NEW.id); RETURN NULL; END $$"
    )
    for table in _GUARDED:
        op.execute(
            f"CREATE TRIGGER {table}_refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
        )
    op.execute(
        "CREATE TRIGGER audit_events_wait AFTER INSERT ON audit_events "
        "FOR EACH ROW EXECUTE FUNCTION audit_wait()"
    )
