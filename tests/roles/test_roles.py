"""Roles: made, changed, deleted, listed by administrators; nobody decides over what they lack."""

from typing import Any
from uuid import uuid4

import jwt
import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from api.kit import work
from api.kit.db import db
from api.users.models import Role
from tests.support import databases
from tests.support.clients import Person
from tests.support.roles import give, new_holder, new_role
from tests.support.watching import in_parallel, statements, user_row

ROLES = "/v1/roles"
ME = "/v1/users/me"
SUPPORT = {"name": "support", "summary": "Looks after users.", "permissions": ["users:read"]}
DENIED = (403, "permission_denied")


def refusal(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.get_json()["code"]


def errors(response: TestResponse) -> list[tuple[str, str]]:
    assert response.status_code == 422, response.text
    return [(error["pointer"], error["code"]) for error in response.get_json()["errors"]]


def role_of(person: Person, role: str) -> str:
    return f"/v1/users/{person.id}/roles/{role}"


def test_a_role_is_made_and_found(admin: Person) -> None:
    made = admin.call("POST", ROLES, SUPPORT)
    assert made.headers["Location"] == "https://id.example.com/v1/roles/support"
    shown = made.get_json()
    assert {name: shown[name] for name in SUPPORT} == SUPPORT
    assert (shown["built_in"], shown["created_at"]) == (False, shown["updated_at"])
    assert admin.call("GET", f"{ROLES}/support").get_json() == shown


def test_permissions_are_kept_in_order_and_once(admin: Person) -> None:
    wanted = ["users:write", "users:read", "users:write"]
    made = admin.call("POST", ROLES, SUPPORT | {"permissions": wanted})
    assert made.get_json()["permissions"] == ["users:read", "users:write"]


def test_admin_is_built_in_and_has_every_permission(app: Flask, admin: Person) -> None:
    shown = admin.call("GET", f"{ROLES}/admin").get_json()
    declared = sorted(permission.name for permission in app.extensions["tessera"].permissions)
    assert (shown["built_in"], shown["permissions"], shown["created_at"]) == (True, declared, None)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_admin_is_neither_changed_nor_deleted(admin: Person, method: str) -> None:
    body: dict[str, Any] | None = {"permissions": []} if method == "PATCH" else None
    assert refusal(admin.call(method, f"{ROLES}/admin", body)) == (409, "built_in_role")


@pytest.mark.parametrize("name", ["support", "admin"])
def test_a_name_is_given_once(admin: Person, name: str) -> None:
    assert admin.call("POST", ROLES, SUPPORT).status_code == 201
    assert refusal(admin.call("POST", ROLES, SUPPORT | {"name": name})) == (409, "role_name_taken")


def test_of_parallel_roles_of_one_name_one_is_made(admin: Person) -> None:
    answers = in_parallel(4, lambda _: admin.call("POST", ROLES, SUPPORT).status_code)
    assert sorted(answers) == [201, 409, 409, 409]


@databases.ON_SQLITE
@pytest.mark.parametrize("name", ["Support", "1st", "a b", "\u00e4", "a/b", "a" * 41, "", "-a", "a\n"])
def test_a_name_that_is_none_is_refused(admin: Person, name: str) -> None:
    assert errors(admin.call("POST", ROLES, SUPPORT | {"name": name}))[0][0] == "/name"


def test_a_permission_that_is_none_is_refused_with_its_place(admin: Person) -> None:
    wanted = ["users:read", "users:all", "*"]
    refused = admin.call("POST", ROLES, SUPPORT | {"permissions": wanted})
    unknown = "unknown_permission"
    assert errors(refused) == [("/permissions/1", unknown), ("/permissions/2", unknown)]


def test_permissions_are_bounded(admin: Person) -> None:
    refused = admin.call("POST", ROLES, SUPPORT | {"permissions": ["users:read"] * 201})
    assert errors(refused) == [("/permissions", "too_long")]


def test_a_role_is_changed_member_by_member(admin: Person) -> None:
    admin.call("POST", ROLES, SUPPORT)
    changed = admin.call("PATCH", f"{ROLES}/support", {"permissions": []}).get_json()
    assert (changed["permissions"], changed["summary"]) == ([], SUPPORT["summary"])
    assert changed["updated_at"] > changed["created_at"]


def test_a_change_that_changes_nothing_leaves_the_tag(admin: Person) -> None:
    admin.call("POST", ROLES, SUPPORT)
    tag = admin.call("GET", f"{ROLES}/support").headers["ETag"]
    same = {"summary": SUPPORT["summary"], "permissions": SUPPORT["permissions"]}
    assert admin.call("PATCH", f"{ROLES}/support", same).headers["ETag"] == tag
    assert admin.call("GET", f"{ROLES}/support", If_None_Match=tag).status_code == 304


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_stale_tag_changes_nothing(admin: Person, method: str) -> None:
    admin.call("POST", ROLES, SUPPORT)
    stale = admin.call("GET", f"{ROLES}/support").headers["ETag"]
    admin.call("PATCH", f"{ROLES}/support", {"summary": "Another."})
    body: dict[str, Any] | None = {"permissions": []} if method == "PATCH" else None
    refused = admin.call(method, f"{ROLES}/support", body, If_Match=stale)
    assert refusal(refused) == (412, "precondition_failed")
    assert admin.call("GET", f"{ROLES}/support").get_json()["permissions"] == ["users:read"]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_role_that_nobody_made_is_not_there(admin: Person, method: str) -> None:
    body = {"summary": "New."} if method == "PATCH" else None
    assert refusal(admin.call(method, f"{ROLES}/support", body)) == (404, "not_found")


def test_a_role_that_nobody_has_is_deleted(admin: Person) -> None:
    admin.call("POST", ROLES, SUPPORT)
    assert admin.call("DELETE", f"{ROLES}/support").status_code == 204
    assert admin.call("GET", f"{ROLES}/support").status_code == 404
    assert admin.call("DELETE", f"{ROLES}/support").status_code == 404


def test_a_role_that_somebody_has_is_not_deleted(app: Flask, admin: Person, mina: Person) -> None:
    role = new_role(app, "users:read")
    give(app, mina.id, role)
    assert refusal(admin.call("DELETE", f"{ROLES}/{role}")) == (409, "role_in_use")
    assert admin.call("DELETE", role_of(mina, role)).status_code == 204
    assert admin.call("DELETE", f"{ROLES}/{role}").status_code == 204


def test_a_role_is_given_or_deleted_but_not_both(app: Flask, admin: Person, mina: Person) -> None:
    for _ in range(8):
        role = new_role(app)
        given, deleted = _at_once(admin, ("PUT", role_of(mina, role)), ("DELETE", f"{ROLES}/{role}"))
        assert (given, deleted) in ((204, 409), (404, 204))
        assert (role in user_row(app, mina.id).roles) == (given == 204)
        if given == 204:
            assert admin.call("DELETE", role_of(mina, role)).status_code == 204


def _at_once(person: Person, *calls: tuple[str, str]) -> list[int]:
    return in_parallel(len(calls), lambda number: person.call(*calls[number]).status_code)


# The list


def test_the_list_has_every_role_by_name(app: Flask, admin: Person) -> None:
    for name in ("zoo", "support", "a-role"):
        admin.call("POST", ROLES, SUPPORT | {"name": name})
    listed = admin.call("GET", ROLES).get_json()
    assert [role["name"] for role in listed["items"]] == ["a-role", "admin", "support", "zoo"]
    assert listed["items"][1] == admin.call("GET", f"{ROLES}/admin").get_json()
    assert listed["next_cursor"] is None


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_meet_every_role_once(admin: Person, limit: int) -> None:
    for name in ("zoo", "support", "a-role"):
        admin.call("POST", ROLES, SUPPORT | {"name": name})
    names: list[str] = []
    path: str | None = f"{ROLES}?limit={limit}"
    while path is not None:
        found = admin.call("GET", path).get_json()
        names += [role["name"] for role in found["items"]]
        path = found["next_cursor"] and f"{ROLES}?limit={limit}&cursor={found['next_cursor']}"
    assert names == ["a-role", "admin", "support", "zoo"]


# What a role gives


def test_a_role_opens_at_the_next_request_what_it_allows(app: Flask, admin: Person, mina: Person) -> None:
    role = new_role(app, "users:read")
    assert mina.call("GET", "/v1/users").status_code == 403
    assert admin.call("PUT", role_of(mina, role)).status_code == 204
    assert mina.call("GET", "/v1/users").status_code == 200
    assert mina.call("DELETE", f"/v1/users/{admin.id}").status_code == 404
    assert mina.call("GET", ME).get_json()["roles"] == [role]


def test_what_is_changed_of_a_role_counts_at_the_next_request(app: Flask, admin: Person) -> None:
    holder = new_holder(app, "users:read")
    [role] = holder.call("GET", ME).get_json()["roles"]
    admin.call("PATCH", f"{ROLES}/{role}", {"permissions": ["roles:read"]})
    assert holder.call("GET", "/v1/users").status_code == 403
    assert holder.call("GET", ROLES).status_code == 200


def test_a_role_is_taken_at_the_next_request(app: Flask, admin: Person) -> None:
    holder = new_holder(app, "users:read")
    [role] = holder.call("GET", ME).get_json()["roles"]
    assert admin.call("DELETE", role_of(holder, role)).status_code == 204
    assert holder.call("GET", "/v1/users").status_code == 403


def test_several_roles_add_up(app: Flask) -> None:
    holder = new_holder(app, "users:read")
    give(app, holder.id, new_role(app, "roles:read"))
    assert [holder.call("GET", path).status_code for path in ("/v1/users", ROLES)] == [200, 200]


def test_what_is_given_or_taken_twice_is_as_good(admin: Person, mina: Person) -> None:
    admin.call("POST", ROLES, SUPPORT)
    path = role_of(mina, "support")
    answers = [
        admin.call(method, path).status_code for method in ("DELETE", "PUT", "PUT", "DELETE", "DELETE")
    ]
    assert answers == [204] * 5


def test_what_nobody_made_or_nobody_is_cannot_be_given(admin: Person, mina: Person) -> None:
    admin.call("POST", ROLES, SUPPORT)
    for method in ("PUT", "DELETE"):
        assert refusal(admin.call(method, role_of(mina, "none"))) == (404, "not_found")
        assert refusal(admin.call(method, f"/v1/users/{uuid4()}/roles/support")) == (404, "not_found")


def test_a_user_has_so_many_roles_and_no_more(app: Flask, admin: Person, mina: Person) -> None:
    for _ in range(20):
        give(app, mina.id, new_role(app))
    assert refusal(admin.call("PUT", role_of(mina, new_role(app)))) == (409, "too_many_roles")
    assert admin.call("PUT", role_of(mina, user_row(app, mina.id).roles[0])).status_code == 204


def test_of_roles_given_at_once_none_is_lost(app: Flask, admin: Person, mina: Person) -> None:
    names = sorted(new_role(app) for _ in range(6))
    answers = in_parallel(6, lambda number: admin.call("PUT", role_of(mina, names[number])).status_code)
    assert answers == [204] * 6
    assert user_row(app, mina.id).roles == names


def test_a_token_names_roles_and_what_they_allow(app: Flask) -> None:
    holder = new_holder(app, "users:read", "roles:read")
    scope = _claims(holder.sign_in()["access_token"])
    assert (scope["scope"], scope["roles"]) == (
        "roles:read users:read",
        holder.call("GET", ME).get_json()["roles"],
    )


def _claims(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def test_only_a_role_that_somebody_made_costs_a_second_query(app: Flask, admin: Person, mina: Person) -> None:
    counts = []
    for person in (mina, admin, new_holder(app, "users:read")):
        person.call("GET", ME)  # notes the first use of the session
        with statements(app) as seen:
            assert person.call("GET", ME).status_code == 200
        counts.append(len(seen))
    assert counts == [1, 1, 2]


# Nobody decides over what they lack


@pytest.fixture
def clerk(app: Flask) -> Person:
    """Somebody who may read users, and make and give roles."""
    return new_holder(app, "users:read", "roles:read", "roles:write")


def test_what_one_has_one_may_give(app: Flask, clerk: Person, mina: Person) -> None:
    assert clerk.call("POST", ROLES, SUPPORT).status_code == 201
    assert clerk.call("PUT", role_of(mina, "support")).status_code == 204
    assert clerk.call("PATCH", f"{ROLES}/support", {"permissions": ["roles:read"]}).status_code == 200
    assert clerk.call("DELETE", role_of(mina, "support")).status_code == 204
    assert clerk.call("DELETE", f"{ROLES}/support").status_code == 204


def test_what_one_lacks_one_puts_into_no_role(app: Flask, clerk: Person) -> None:
    refused = clerk.call("POST", ROLES, SUPPORT | {"permissions": ["users:read", "users:write"]})
    assert refusal(refused) == DENIED
    assert 'scope="users:write"' in refused.headers["WWW-Authenticate"]
    role = new_role(app, "users:read")
    assert refusal(clerk.call("PATCH", f"{ROLES}/{role}", {"permissions": ["users:write"]})) == DENIED


def test_a_role_that_allows_more_is_neither_changed_nor_deleted(app: Flask, clerk: Person) -> None:
    role = new_role(app, "users:write")
    assert refusal(clerk.call("PATCH", f"{ROLES}/{role}", {"permissions": []})) == DENIED
    assert refusal(clerk.call("PATCH", f"{ROLES}/{role}", {"summary": "Harmless."})) == DENIED
    assert refusal(clerk.call("DELETE", f"{ROLES}/{role}")) == DENIED


@pytest.mark.parametrize("allowed", ["users:write", None])
def test_a_role_that_allows_more_is_neither_given_nor_taken(
    app: Flask, clerk: Person, admin: Person, mina: Person, allowed: str | None
) -> None:
    role = "admin" if allowed is None else new_role(app, allowed)
    give(app, mina.id, role)
    for target in (clerk, mina, admin):
        for method in ("PUT", "DELETE"):
            assert refusal(clerk.call(method, role_of(target, role))) == DENIED
    assert user_row(app, mina.id).roles == [role]
    assert role not in user_row(app, clerk.id).roles


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"email": "mine@example.com"}),
        ("DELETE", "", None),
        ("PUT", "/password", {"current_password": None, "new_password": "violet anchor moth"}),
        ("POST", "/suspension", {"reason": "Mine now.", "until": None}),
    ],
)
def test_an_account_that_may_more_is_not_taken_over(
    app: Flask, admin: Person, method: str, path: str, body: dict[str, Any] | None
) -> None:
    eve = new_holder(app, "users:read", "users:write")
    before = user_row(app, admin.id)
    assert refusal(eve.call(method, f"/v1/users/{admin.id}{path}", body)) == DENIED
    after = user_row(app, admin.id)
    assert (after.version, after.password_hash) == (before.version, before.password_hash)
    assert admin.call("GET", ME).status_code == 200


def test_a_deleted_account_that_may_more_is_not_restored(app: Flask, admin: Person) -> None:
    eve = new_holder(app, "users:read", "users:write")
    strong = new_holder(app, "roles:write")
    assert admin.call("DELETE", f"/v1/users/{strong.id}").status_code == 204
    assert refusal(eve.call("POST", f"/v1/users/{strong.id}/restoration")) == DENIED


def test_a_permission_of_a_feature_that_is_off_is_nobodys_and_the_administrators_to_give(
    app: Flask, admin: Person, clerk: Person, mina: Person
) -> None:
    role = new_role(app, "users:read")
    _put_into(app, role, "gone:read")
    assert refusal(clerk.call("PUT", role_of(mina, role))) == DENIED
    assert admin.call("PUT", role_of(mina, role)).status_code == 204
    assert _claims(mina.sign_in()["access_token"])["scope"] == "users:read"
    changed = admin.call("PATCH", f"{ROLES}/{role}", {"permissions": ["gone:read"]})
    assert changed.get_json()["permissions"] == ["gone:read"]


def _put_into(app: Flask, role: str, permission: str) -> None:
    """Put a permission into a role, as before its feature was switched off."""
    with app.app_context(), work.writing():
        found = db.session.scalars(sa.select(Role).where(Role.name == role)).one()
        found.permissions = [*found.permissions, permission]
