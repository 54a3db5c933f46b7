"""What is done with roles and accounts is told within the transaction: once, and only if it was done."""

from typing import Any

import pytest
from flask import Flask

from api.kit.events import Event
from api.kit.problems import NotFound
from api.roles.service import RoleChanged, RoleCreated, RoleDeleted
from api.users.service import UserChanged
from api.users.standing import RoleGranted, RoleTaken, UserRestored
from tests.support.clients import Person
from tests.support.watching import listening, user_row

KINDS: tuple[type[Event], ...] = (RoleCreated, RoleChanged, RoleDeleted, RoleGranted, RoleTaken, UserRestored)
SUPPORT = {"name": "support", "summary": "Looks after users.", "permissions": ["users:read"]}


def test_every_deed_is_told_once(app: Flask, admin: Person, mina: Person) -> None:
    told: list[Any] = []
    member = f"/v1/users/{mina.id}/roles/support"
    with listening(app, *((kind, told.append) for kind in KINDS)):
        for method, path, body in (
            ("POST", "/v1/roles", SUPPORT),
            ("PATCH", "/v1/roles/support", {"summary": "Looks on."}),
            ("PATCH", "/v1/roles/support", {"summary": "Looks on."}),
            ("PUT", member, None),
            ("PUT", member, None),
            ("DELETE", member, None),
            ("DELETE", member, None),
            ("DELETE", "/v1/roles/support", None),
            ("DELETE", f"/v1/users/{mina.id}", None),
            ("POST", f"/v1/users/{mina.id}/restoration", None),
        ):
            assert admin.call(method, path, body).status_code < 300, path
    user_id = user_row(app, mina.id).id
    assert told == [
        RoleCreated("support"),
        RoleChanged("support"),
        RoleGranted(user_id, "support"),
        RoleTaken(user_id, "support"),
        RoleDeleted("support"),
        UserRestored(user_id),
    ]


def test_a_listener_that_refuses_undoes_the_deed(app: Flask, admin: Person, mina: Person) -> None:
    def refuse(_: Event) -> None:
        raise NotFound()

    admin.call("POST", "/v1/roles", SUPPORT)
    with listening(app, (RoleGranted, refuse)):
        assert admin.call("PUT", f"/v1/users/{mina.id}/roles/support").status_code == 404
    assert user_row(app, mina.id).roles == []
    assert admin.call("DELETE", "/v1/roles/support").status_code == 204, "nobody is noted as having it"


@pytest.mark.parametrize("role", ["admin", "support"])
def test_that_roles_changed_is_told_as_a_change_of_the_user(
    app: Flask, admin: Person, mina: Person, role: str
) -> None:
    admin.call("POST", "/v1/roles", SUPPORT)
    told: list[UserChanged] = []
    with listening(app, (UserChanged, told.append)):
        admin.call("PUT", f"/v1/users/{mina.id}/roles/{role}")
    assert [event.members for event in told] == [{"roles"}]
