"""Roles: names for sets of permissions, made by administrators and given to users."""

from pathlib import Path

from api.kit.feature import Feature
from api.kit.identity import Permission
from api.roles.resources import OneRole, Roles, UserRole
from api.roles.service import BuiltInRole, RoleChanged, RoleCreated, RoleDeleted, RoleInUse, RoleNameTaken

feature = Feature(
    name="roles",
    summary="Roles as sets of permissions: make, change and delete them, give them to users.",
    requires=("users",),
    resources=(
        ("/v1/roles", Roles),
        ("/v1/roles/<role>", OneRole),
        ("/v1/users/<user_id>/roles/<role>", UserRole),
    ),
    permissions=(
        Permission("roles:read", "See every role."),
        Permission("roles:write", "Make, change and delete roles, and give and take them."),
    ),
    problems=(RoleNameTaken, RoleInUse, BuiltInRole),
    events=(RoleCreated, RoleChanged, RoleDeleted),
    examples=Path(__file__).parent / "examples.json",
)
