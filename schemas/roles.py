"""Roles as they cross the wire."""

from typing import Any

from marshmallow import fields

from schemas.base import (
    Answer,
    Boolean,
    Matching,
    PageAnswer,
    PageQuery,
    Request,
    Text,
    Timestamp,
    list_of,
)
from schemas.messages import Phrase
from schemas.users import UserPath

PERMISSIONS_MAXIMUM = 200


def _name(**kwargs: Any) -> Matching:
    return Matching(
        r"[a-z][a-z0-9_\-]*",
        hint=Phrase("Must begin with a letter from a to z, and go on with such letters, digits, _ or -."),
        minimum=1,
        maximum=40,
        metadata={"description": "What the role is called, for good.", "example": "support"},
        **kwargs,
    )


def _summary(**kwargs: Any) -> Text:
    return Text(minimum=1, maximum=200, metadata={"example": "Looks after users."}, **kwargs)


def _permissions(**kwargs: Any) -> fields.List[Any]:
    inner = Text(minimum=1, maximum=80, metadata={"example": "users:read"})
    text = "What the role allows; which permissions there are, the role `admin` shows."
    metadata = {"description": text, "example": ["users:read"]}
    return list_of(inner, PERMISSIONS_MAXIMUM, metadata=metadata, **kwargs)


class RolePath(Request):
    """The path of one role."""

    role = _name(required=True)


class UserRolePath(UserPath):
    """The path of one role of one user."""

    role = _name(required=True)


class RoleList(PageQuery):
    """The query of the list of roles."""


class RoleCreate(Request):
    """What making a role takes."""

    name = _name(required=True)
    summary = _summary(required=True)
    permissions = _permissions(required=True)


class RolePatch(Request):
    """A merge patch of a role (RFC 7396): a list is replaced as a whole, what is absent stays."""

    summary = _summary()
    permissions = _permissions()


class RoleAnswer(Answer):
    """A name for a set of permissions."""

    name = _name()
    summary = _summary()
    permissions = _permissions()
    built_in = Boolean(
        metadata={"description": "Whether it came with the service and cannot be changed.", "example": False}
    )
    created_at = Timestamp(
        allow_none=True,
        metadata={"description": "Null when it is built in.", "example": "2026-11-22T09:30:00.000000Z"},
    )
    updated_at = Timestamp(
        allow_none=True,
        metadata={"description": "Null when it is built in.", "example": "2026-11-22T09:30:00.000000Z"},
    )


class RolePageAnswer(PageAnswer):
    """A page of roles."""

    items = list_of(fields.Nested(RoleAnswer), 200)
