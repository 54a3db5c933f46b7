"""How Alembic runs a history: on the connection, and with the version table, it is given."""

from typing import Any, Literal

from alembic import context

from api.kit.db import Base, UtcDateTime


def _render(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """Write our own types as what they are in the database: a migration imports no code of ours."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def _is_own(item: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
    """Leave the tables of features from outside to their own histories, and the search to 0010."""
    if name == "ix_users_search_text":
        return False
    return kind != "table" or not reflected or compare_to is not None


context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    render_as_batch=True,
    render_item=_render,
    include_object=_is_own,
)
with context.begin_transaction():
    context.run_migrations()
