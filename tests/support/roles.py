"""Roles for tests, and people who have them."""

import secrets
from uuid import UUID

from flask import Flask

from api.kit import work
from api.roles import service
from api.users import standing
from api.users.roles import every_permission
from tests.support.clients import Person, new_person


def new_role(app: Flask, *permissions: str) -> str:
    """Make a role with these permissions, and return its name."""
    name = f"role-{secrets.token_hex(4)}"
    with app.app_context(), work.writing():
        service.create(name, "Made by a test.", list(permissions), held=every_permission())
    return name


def give(app: Flask, user_id: str, role: str) -> None:
    with app.app_context(), work.writing():
        standing.grant(UUID(user_id), role, held=every_permission())


def new_holder(app: Flask, *permissions: str) -> Person:
    """Sign somebody up and in whose one role has these permissions."""
    person = new_person(app)
    give(app, person.id, new_role(app, *permissions))
    return person
