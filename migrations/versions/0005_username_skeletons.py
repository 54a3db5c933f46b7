"""What usernames look like.

Of users from before whose names look alike the oldest gets the skeleton and the others none: they
keep their names, and nobody else gets one that looks like them.
"""

from collections.abc import Iterator
from uuid import UUID

import sqlalchemy as sa
from alembic import op

from api.kit.look_alikes import skeleton  # of today: the service compares by nothing else

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_LENGTH, _BATCH = 160, 1000
_USERS = sa.table(
    "users",
    sa.column("id", sa.Uuid()),
    sa.column("username", sa.String()),
    sa.column("username_key", sa.String()),
    sa.column("username_skeleton", sa.String()),
    sa.column("created_at"),
)


def upgrade() -> None:
    op.add_column("users", sa.Column("username_skeleton", sa.String(_LENGTH)))
    op.execute(_USERS.update().values(username_skeleton=_USERS.c.username_key))  # right for all of ASCII
    _correct_others(op.get_bind())
    op.execute(_USERS.update().where(_USERS.c.id.in_(_later_look_alikes())).values(username_skeleton=None))
    op.create_index("uq_users_username_skeleton", "users", ["username_skeleton"], unique=True)


def downgrade() -> None:
    op.drop_index("uq_users_username_skeleton", "users")
    op.drop_column("users", "username_skeleton")


def _correct_others(connection: sa.Connection) -> None:
    correct = (
        _USERS.update()
        .where(_USERS.c.id == sa.bindparam("user_id"))
        .values(username_skeleton=sa.bindparam("skeleton"))
    )
    for names in _batches(connection):
        others = [
            {"user_id": user_id, "skeleton": _fitting_skeleton(name)}
            for user_id, name in names.items()
            if not name.isascii()
        ]
        if others:
            connection.execute(correct, others)


def _batches(connection: sa.Connection) -> Iterator[dict[UUID, str]]:
    """Yield the usernames by the ids of their users, some at a time."""
    last = UUID(int=0)
    query = sa.select(_USERS.c.id, _USERS.c.username).where(_USERS.c.username.is_not(None))
    query = query.order_by(_USERS.c.id).limit(_BATCH)
    while names := {row.id: row.username for row in connection.execute(query.where(_USERS.c.id > last))}:
        yield names
        last = max(names)


def _fitting_skeleton(name: str) -> str | None:
    seen = skeleton(name)
    return seen if len(seen) <= _LENGTH else None


def _later_look_alikes() -> sa.Select[tuple[UUID]]:
    place = sa.func.row_number().over(
        partition_by=_USERS.c.username_skeleton, order_by=(_USERS.c.created_at, _USERS.c.id)
    )
    named = sa.select(_USERS.c.id, place.label("place")).where(_USERS.c.username_skeleton.is_not(None))
    ranked = named.subquery()
    return sa.select(ranked.c.id).where(ranked.c.place > 1)
