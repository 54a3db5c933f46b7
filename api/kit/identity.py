"""Who calls, by what credential, with which permissions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from flask import g

from api.kit import clock
from api.kit.current import wsgi_environ
from api.kit.problems import (
    AuthenticationRequired,
    InvalidToken,
    NotFound,
    PermissionDenied,
    ReauthenticationRequired,
)
from api.kit.settings import Settings

MAXIMUM_CREDENTIAL = 8192  # characters


@dataclass(frozen=True, slots=True)
class Permission:
    """Something that a role may allow, such as `users:read`."""

    name: str
    summary: str


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller of one request; `session_id` is None for credentials without a session.

    `record` is the row that the caller was read from, so that nobody need read it again.
    """

    user_id: UUID
    session_id: UUID | None
    permissions: frozenset[str]
    authenticated_at: datetime
    record: Any = field(default=None, repr=False, compare=False)

    def may(self, permission: str) -> bool:
        return permission in self.permissions

    def require(self, permission: str) -> None:
        """Raise PermissionDenied unless the caller has the permission."""
        if not self.may(permission):
            raise PermissionDenied(permission)


class Authenticator(Protocol):
    """Knows one kind of bearer credential."""

    def recognises(self, credential: str) -> bool:
        """Tell by its form alone whether the credential is of this kind."""

    def authenticate(self, credential: str) -> Identity:
        """Return who presents it; raises InvalidToken."""


def caller() -> Identity:
    """Return who calls; only operations that are not public know one."""
    identity: Identity | None = g.get("identity")
    if identity is None:
        raise AuthenticationRequired()
    return identity


def bearer_credential() -> str:
    """Return the request's one bearer credential (RFC 6750 section 2.1).

    Raises AuthenticationRequired when there is none, InvalidToken when it is malformed.
    """
    header = wsgi_environ().get("HTTP_AUTHORIZATION")
    if header is None:
        raise AuthenticationRequired()
    scheme, _, credential = header.partition(" ")
    credential = credential.lstrip(" ")  # whose form is for who knows its kind to judge
    if len(header) > MAXIMUM_CREDENTIAL or scheme.lower() != "bearer" or not credential:
        raise InvalidToken()
    return str(credential)


class Access:
    """Who may use an operation. Everyone, unless a subclass says otherwise."""

    public = False

    def describe(self) -> str:
        return ""

    def permit(self, identity: Identity, path: Mapping[str, object]) -> None:
        """Raise PermissionDenied or NotFound for a caller who may not."""


class _Public(Access):
    public = True

    def describe(self) -> str:
        return "Anybody."


class _SignedIn(Access):
    def describe(self) -> str:
        return "Any signed-in user."


@dataclass(frozen=True)
class Needs(Access):
    """Whoever has a permission; others are told that they lack it."""

    permission: str

    def describe(self) -> str:
        return f"Needs the permission `{self.permission}`."

    def permit(self, identity: Identity, path: Mapping[str, object]) -> None:
        identity.require(self.permission)


@dataclass(frozen=True)
class OwnerOr(Access):
    """The user of the path, or whoever has a permission; to others the user does not exist."""

    permission: str

    def describe(self) -> str:
        return f"The user, or whoever has the permission `{self.permission}`."

    def permit(self, identity: Identity, path: Mapping[str, object]) -> None:
        if path.get("user_id") != identity.user_id and not identity.may(self.permission):
            raise NotFound()


PUBLIC = _Public()
SIGNED_IN = _SignedIn()
AccessRule = Access | Callable[[Settings], Access]


def require_fresh(identity: Identity, max_age: int) -> None:
    """Raise ReauthenticationRequired when the sign-in is over `max_age` seconds old (RFC 9470)."""
    if (clock.now() - identity.authenticated_at).total_seconds() > max_age:
        raise ReauthenticationRequired(max_age)
