"""What roles allow, who has which, and that somebody always administers."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api.kit import work
from api.kit.db import among, db
from api.kit.problems import NotFound, PermissionDenied, Problem
from api.kit.service import service
from api.users.models import ACTIVE, IS_ACTIVE, Role, RoleMember, User

ADMIN = "admin"  # the built-in role that has every permission


_ADD_MEMBER = sa.insert(RoleMember).from_select(
    ["role", "user_id", "created_at"],
    sa.select(sa.bindparam("of_role", type_=sa.String()), User.id, User.created_at).where(
        User.id == sa.bindparam("of_user_id")
    ),
)


class LastAdministrator(Problem):
    status = 409
    code = "last_administrator"
    title = "This is the last administrator"
    detail = "Nobody else who is active has the role admin, so this account has to keep it."
    remedy = "Make somebody else an administrator first."


def every_permission() -> frozenset[str]:
    """Return what `admin` allows: the permissions of every feature that is on."""
    return frozenset(permission.name for permission in service().permissions)


def names() -> frozenset[str]:
    """Return the names of all roles that there are."""
    return frozenset(db.session.scalars(sa.select(Role.name))) | {ADMIN}


def permissions_of(names: Iterable[str]) -> frozenset[str]:
    """Return what roles allow today; only roles that somebody made are looked up."""
    names = list(names)
    if not names:
        return frozenset()
    if ADMIN in names:
        return every_permission()
    lists = db.session.scalars(sa.select(Role.permissions).where(Role.name.in_(names)))
    return every_permission().intersection(name for permissions in lists for name in permissions)


def require(held: frozenset[str], wanted: Iterable[str]) -> None:
    """Raise PermissionDenied unless whoever holds some permissions may decide over others.

    Nobody decides over what they lack. Whoever holds every permission that there is lacks none, not
    those of a feature that is off either.
    """
    lacking = sorted(set(wanted) - held)
    if lacking and not held >= every_permission():
        raise PermissionDenied(" ".join(lacking))


def held_still(name: str) -> frozenset[str]:
    """Return the permissions of a role that nobody changes or deletes before this unit of work ends.

    Raises NotFound.
    """
    if name == ADMIN:
        return every_permission()
    query = sa.select(Role.permissions).where(Role.name == name).with_for_update(read=True)
    permissions = db.session.scalar(query)
    if permissions is None:
        raise NotFound()
    return frozenset(permissions)


def kept(names: Collection[str]) -> frozenset[str]:
    """Return those of some roles that there are; nobody deletes them before this unit of work ends."""
    if not names:
        return frozenset()
    query = sa.select(Role.name).where(Role.name.in_(names)).order_by(Role.name).with_for_update(read=True)
    return frozenset(db.session.scalars(query)) | {ADMIN}


def note_members(user_id: UUID, names: Iterable[str], *, before: Iterable[str] = ()) -> None:
    """Note which roles a user has from now on, wherever `User.roles` is written."""
    now, then = set(names), set(before)
    if gone := then - now:
        left = sa.delete(RoleMember).where(RoleMember.user_id == user_id, RoleMember.role.in_(gone))
        db.session.execute(left)
    if come := now - then:
        _add_members({"of_role": role, "of_user_id": user_id} for role in come)


def note_members_of(users: Mapping[UUID, Iterable[str]]) -> None:
    """Note which roles users have from now on, whatever they had: for many at once."""
    left = sa.delete(RoleMember).where(among(RoleMember.user_id, users))
    db.session.execute(left.execution_options(synchronize_session=False))
    _add_members(
        {"of_role": role, "of_user_id": user_id} for user_id, names in users.items() for role in set(names)
    )


def _add_members(come: Iterable[dict[str, Any]]) -> None:
    if members := list(come):
        db.session.flush()  # the users are to be there
        db.session.connection().execute(_ADD_MEMBER, members)


def keep_an_administrator(user: User) -> None:
    """Refuse to let a user go, whom the caller has locked, if no other active administrator is left.

    Who lets one go takes turns from here on, so that of the last two one stays. Raises LastAdministrator.
    """
    if ADMIN not in user.roles or user.status != ACTIVE:
        return
    work.in_turn("administrators")
    others = (
        sa.select(sa.literal(1))
        .join_from(RoleMember, User, User.id == RoleMember.user_id)
        .where(RoleMember.role == ADMIN, User.id != user.id, IS_ACTIVE)
    )
    if db.session.scalar(others.limit(1)) is None:
        raise LastAdministrator()
