"""Who acts: for what is noted of a deed by those who see no request."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from flask import g, has_request_context

from api.kit.addresses import client_address
from api.kit.http import request_id
from api.kit.identity import Identity

USER = "user"  # who presented a credential
NOBODY = "nobody"  # a request without one
COMMAND = "command"  # the command line
SERVICE = "service"  # Tessera by itself: the worker, or what is due by the clock


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, by which session, from where, in which request; as far as there is any."""

    kind: str
    user_id: UUID | None = None
    session_id: UUID | None = None
    ip: str | None = None
    request_id: str | None = None


_named: ContextVar[Actor | None] = ContextVar("tessera.actor", default=None)


def current_actor() -> Actor:
    """Return who acts now."""
    named = _named.get()
    if named is not None:
        return named
    if not has_request_context():
        return Actor(COMMAND)
    identity: Identity | None = g.get("identity")
    if identity is None:
        return Actor(NOBODY, ip=client_address(), request_id=request_id())
    return Actor(USER, identity.user_id, identity.session_id, client_address(), request_id())


@contextmanager
def as_service() -> Iterator[None]:
    """Let what is done here be done by Tessera itself, whoever's request it happens in."""
    token = _named.set(Actor(SERVICE))
    try:
        yield
    finally:
        _named.reset(token)
