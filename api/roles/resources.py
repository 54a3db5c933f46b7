"""Roles over HTTP."""

from typing import Any
from uuid import UUID

from flask_restful import Resource

from api.kit.conditional import Precondition
from api.kit.config import PUBLIC_URL
from api.kit.identity import Needs, caller
from api.kit.operation import Answer, operation
from api.kit.problems import NotFound, PermissionDenied
from api.kit.service import setting
from api.roles import service
from api.roles.service import BuiltInRole, RoleInUse, RoleNameTaken
from api.users import standing
from api.users.roles import LastAdministrator
from api.users.standing import TooManyRoles
from schemas.roles import (
    RoleAnswer,
    RoleCreate,
    RoleList,
    RolePageAnswer,
    RolePatch,
    RolePath,
    UserRolePath,
)


class Roles(Resource):
    @operation(
        "listRoles",
        access=Needs("roles:read"),
        query=RoleList(),
        answer=(200, RolePageAnswer()),
        headers={"Link": "The next page (RFC 8288), when there is one."},
    )
    def get(self, **query: Any) -> Answer:
        """List roles by name, a page at a time.

        The built-in role `admin` is among them, and shows every permission that there is.
        """
        page = service.list_page(**query)
        return Answer(page, page.link())

    @operation(
        "createRole",
        access=Needs("roles:write"),
        repeatable=True,
        body=RoleCreate(),
        answer=(201, RoleAnswer()),
        etag=service.etag,
        headers={"Location": "The URL of the role."},
        names={"role": "name"},
        problems=(RoleNameTaken, PermissionDenied),
    )
    def post(self, **details: Any) -> Answer:
        """Make a role.

        Whoever makes it must have every permission in it.
        """
        role = service.create(**details, held=caller().permissions)
        return Answer(role, {"Location": f"{setting(PUBLIC_URL)}/v1/roles/{role['name']}"})


class OneRole(Resource):
    @operation(
        "getRole",
        access=Needs("roles:read"),
        path=RolePath(),
        answer=(200, RoleAnswer()),
        etag=service.etag,
        problems=(NotFound,),
    )
    def get(self, role: str) -> dict[str, Any]:
        """Get a role."""
        return service.get(role)

    @operation(
        "updateRole",
        access=Needs("roles:write"),
        path=RolePath(),
        body=RolePatch(),
        merge_patch=True,
        answer=(200, RoleAnswer()),
        etag=service.etag,
        problems=(NotFound, BuiltInRole, PermissionDenied),
    )
    def patch(self, role: str, precondition: Precondition, **changes: Any) -> dict[str, Any]:
        """Change a role by a merge patch.

        It takes effect at the next request of everybody who has the role. Whoever changes it must have
        every permission in it, before and after.
        """
        return service.change(role, changes, precondition, held=caller().permissions)

    @operation(
        "deleteRole",
        access=Needs("roles:write"),
        path=RolePath(),
        answer=(204, None),
        etag=service.etag,
        problems=(NotFound, BuiltInRole, RoleInUse, PermissionDenied),
    )
    def delete(self, role: str, precondition: Precondition) -> None:
        """Delete a role that nobody has.

        Whoever deletes it must have every permission in it.
        """
        service.delete(role, precondition, held=caller().permissions)


class UserRole(Resource):
    @operation(
        "grantRole",
        access=Needs("roles:write"),
        path=UserRolePath(),
        answer=(204, None),
        problems=(NotFound, TooManyRoles, PermissionDenied),
    )
    def put(self, user_id: UUID, role: str) -> None:
        """Give a user a role.

        It takes effect at their next request; that they have it already is no refusal. Whoever gives it
        must have every permission in it.
        """
        standing.grant(user_id, role, held=caller().permissions)

    @operation(
        "takeRole",
        access=Needs("roles:write"),
        path=UserRolePath(),
        answer=(204, None),
        problems=(NotFound, LastAdministrator, PermissionDenied),
    )
    def delete(self, user_id: UUID, role: str) -> None:
        """Take a role from a user.

        It takes effect at their next request; that they lack it is no refusal. Whoever takes it must have
        every permission in it, and the last administrator keeps theirs.
        """
        standing.take(user_id, role, held=caller().permissions)
