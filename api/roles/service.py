"""What can be done with roles, whoever asks for it. Who has which is for `users.standing`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from api.kit import clock
from api.kit.conditional import Precondition
from api.kit.db import Json, UtcDateTime, db, refusing_duplicates
from api.kit.events import Event
from api.kit.pages import Order, Page, page
from api.kit.problems import FieldError, NotFound, Problem, ValidationFailed
from api.kit.service import emit
from api.users import roles
from api.users.models import Role, RoleMember
from api.users.roles import ADMIN
from schemas.messages import Message

_ADMIN_SUMMARY = "May do everything."
_UNKNOWN_PERMISSION = Message("unknown_permission", "Is no permission.")
# The built-in role as a row among the others, so that pages are cut from one list.
_BUILT_IN = sa.select(
    sa.literal(ADMIN).label("name"),
    sa.literal(_ADMIN_SUMMARY).label("summary"),
    sa.literal([], Json).label("permissions"),
    sa.type_coerce(sa.null(), UtcDateTime()).label("created_at"),
    sa.type_coerce(sa.null(), UtcDateTime()).label("updated_at"),
    sa.literal(0).label("version"),
)
_ANY = aliased(Role, sa.union_all(_BUILT_IN, sa.select(Role.__table__)).subquery("every_role"))


class RoleNameTaken(Problem):
    status = 409
    code = "role_name_taken"
    title = "There is such a role"
    detail = "Another role has this name."
    remedy = "Choose another name, or change the role that there is."


class RoleInUse(Problem):
    status = 409
    code = "role_in_use"
    title = "Users have this role"
    detail = "A role that users have is not deleted."
    remedy = "Take it from everybody who has it, or take its permissions away, and try again."


class BuiltInRole(Problem):
    status = 409
    code = "built_in_role"
    title = "The role is built in"
    detail = "The role admin has every permission, and is neither changed nor deleted."
    remedy = "Make a role of your own."


@dataclass(frozen=True)
class _AboutRole(Event):
    role: str

    def details(self) -> dict[str, Any]:
        return {"role": self.role}


@dataclass(frozen=True)
class RoleCreated(_AboutRole):
    """There is a new role."""

    actions = ("role_created",)


@dataclass(frozen=True)
class RoleChanged(_AboutRole):
    """A role allows something else, or is described otherwise."""

    actions = ("role_changed",)


@dataclass(frozen=True)
class RoleDeleted(_AboutRole):
    """A role is gone."""

    actions = ("role_deleted",)


def list_page(*, limit: int, cursor: str | None) -> Page:
    """Return a page of all roles by name; raises ValidationFailed for a cursor that is not this list's."""
    found = page(sa.select(_ANY), Order((_ANY.name,), descending=False), limit=limit, cursor=cursor)
    return Page([_described(role) for role in found.items], found.next_cursor)


def get(name: str) -> dict[str, Any]:
    """Return a role as it is shown; raises NotFound."""
    role = db.session.scalar(sa.select(_ANY).where(_ANY.name == name))
    if role is None:
        raise NotFound()
    return _described(role)


def etag(role: Mapping[str, Any]) -> str:
    """Return the entity tag of a role as it is shown."""
    shown = "\0".join([str(role["updated_at"]), role["summary"], *role["permissions"]])
    return f"{role['name']}.{sha256(shown.encode()).hexdigest()[:16]}"


def create(name: str, summary: str, permissions: list[str], *, held: frozenset[str]) -> dict[str, Any]:
    """Make a role, by whoever holds all that it allows.

    Raises RoleNameTaken, PermissionDenied or ValidationFailed.
    """
    _refuse_unknown(permissions, roles.every_permission())
    roles.require(held, permissions)
    if name == ADMIN:
        raise RoleNameTaken()
    now = clock.now()
    role = Role(name=name, summary=summary, permissions=_ordered(permissions), created_at=now, updated_at=now)
    with refusing_duplicates({"pk_roles": RoleNameTaken, "uq_roles_name": RoleNameTaken}):
        db.session.add(role)
    emit(RoleCreated(name))
    return _described(role)


def change(
    name: str, changes: Mapping[str, Any], precondition: Precondition, *, held: frozenset[str]
) -> dict[str, Any]:
    """Apply a merge patch to a role, by whoever holds all that it allows before and after.

    Raises NotFound, BuiltInRole, PreconditionFailed, PermissionDenied or ValidationFailed.
    """
    role = _locked(name)
    precondition.check(etag(_described(role)))
    changes = dict(changes)
    if "permissions" in changes:
        _refuse_unknown(changes["permissions"], {*roles.every_permission(), *role.permissions})
        changes["permissions"] = _ordered(changes["permissions"])
    roles.require(held, {*role.permissions, *changes.get("permissions", ())})
    changed = {name: value for name, value in changes.items() if getattr(role, name) != value}
    if changed:
        for member, value in changed.items():
            setattr(role, member, value)
        role.updated_at = clock.now()
        db.session.flush()
        emit(RoleChanged(name))
    return _described(role)


def delete(name: str, precondition: Precondition, *, held: frozenset[str]) -> None:
    """Delete a role that nobody has, by whoever holds all that it allows.

    Raises NotFound, BuiltInRole, PreconditionFailed, PermissionDenied or RoleInUse.
    """
    role = _locked(name)
    precondition.check(etag(_described(role)))
    roles.require(held, role.permissions)
    if db.session.scalar(sa.select(sa.literal(1)).where(RoleMember.role == name).limit(1)) is not None:
        raise RoleInUse()
    db.session.delete(role)
    db.session.flush()
    emit(RoleDeleted(name))


def _locked(name: str) -> Role:
    """Return a role that nobody gives, changes or deletes before this unit of work ends."""
    if name == ADMIN:
        raise BuiltInRole()
    role = db.session.scalar(sa.select(Role).where(Role.name == name).with_for_update())
    if role is None:
        raise NotFound()
    return role


def _refuse_unknown(permissions: list[str], known: Iterable[str]) -> None:
    errors = [
        FieldError(_UNKNOWN_PERMISSION, pointer=f"/permissions/{place}")
        for place, permission in enumerate(permissions)
        if permission not in known
    ]
    if errors:
        raise ValidationFailed(errors)


def _ordered(permissions: Iterable[str]) -> list[str]:
    return sorted(set(permissions))


def _described(role: Role) -> dict[str, Any]:
    is_built_in = role.name == ADMIN
    return {
        "name": role.name,
        "summary": role.summary,
        "permissions": sorted(roles.every_permission()) if is_built_in else role.permissions,
        "built_in": is_built_in,
        "created_at": role.created_at,
        "updated_at": role.updated_at,
    }
