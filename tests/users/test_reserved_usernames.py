"""The names of whoever runs a service are given by administrators alone."""

from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import MakeApp
from tests.support import databases
from tests.support.clients import PASSWORD, ContractClient, Person, client_of, new_details
from tests.support.commands import tessera
from tests.support.watching import set_user

pytestmark = databases.ON_SQLITE

ADMIN = "\u0430dmin"  # its first letter is Cyrillic
PAYPAL = "\u0440\u0430ypal"  # its first two are
ME = "/v1/users/me"


def sign_up(client: ContractClient, **more: Any) -> TestResponse:
    return client.post("/v1/users", json=new_details(**more))


def errors_of(response: TestResponse) -> set[tuple[str, str]]:
    assert response.status_code == 422, response.text
    return {(error["pointer"], error["code"]) for error in response.get_json()["errors"]}


@pytest.mark.parametrize(
    "username",
    ["admin", "ADMIN", "\uff21dmin", ADMIN, "\u0410DMIN", "adm\u0131n", "root", "support", "me", "api"],
    ids=ascii,
)
def test_nobody_signs_up_as_whoever_runs_the_service(client: ContractClient, username: str) -> None:
    assert errors_of(sign_up(client, username=username)) == {("/username", "username_reserved")}


@pytest.mark.parametrize("username", ["admins", "the-admin", "mei", "me2"])
def test_a_name_that_holds_a_reserved_one_is_free(client: ContractClient, username: str) -> None:
    assert sign_up(client, username=username).status_code == 201


@pytest.mark.parametrize("setting", ["open", "private"])
def test_a_reserved_name_is_told_with_all_other_errors(make_app: MakeApp, setting: str) -> None:
    client = client_of(make_app(SIGN_UP=setting))
    refused = sign_up(client, username="admin", email="nowhere", password="short", locale=7)
    assert errors_of(refused) == {
        ("/username", "username_reserved"),
        ("/email", "invalid_email"),
        ("/password", "too_short"),
        ("/locale", "invalid_type"),
    }


def test_a_user_takes_no_reserved_name(mina: Person) -> None:
    refused = mina.call("PATCH", ME, {"username": ADMIN, "locale": 7})
    assert errors_of(refused) == {("/username", "username_reserved"), ("/locale", "invalid_type")}


def test_whoever_has_a_reserved_name_may_send_it_unchanged(app: Flask, mina: Person) -> None:
    set_user(app, mina.id, username="support", username_key="support", username_skeleton="support")
    unchanged = {"username": "support", "display_name": "Mina"}
    assert mina.call("PATCH", ME, unchanged).get_json()["display_name"] == "Mina"
    refused = mina.call("PATCH", ME, {"username": "admin"})
    assert errors_of(refused) == {("/username", "username_reserved")}


def test_an_administrator_gives_a_reserved_name(admin: Person, mina: Person) -> None:
    changed = admin.call("PATCH", f"/v1/users/{mina.id}", {"username": "support"})
    assert changed.get_json()["username"] == "support"


def test_where_sign_up_is_closed_an_administrator_makes_a_reserved_name(
    make_app: MakeApp, admin: Person
) -> None:
    closed = client_of(make_app(SIGN_UP="closed"))
    made = closed.post("/v1/users", json=new_details(username="support"), headers=admin.bearer)
    assert made.status_code == 201


def test_the_command_makes_the_administrator_called_admin(app: Flask, environ: dict[str, str]) -> None:
    named = ["--username", "admin", "--email", "admin@example.com"]
    stdin = f"{PASSWORD}\n".encode()
    ended = tessera("user", "create", "--admin", *named, "--password-stdin", environ=environ, stdin=stdin)
    assert (ended.code, ended.errors) == (0, "")


def test_operators_reserve_names_of_their_own(make_app: MakeApp) -> None:
    client = client_of(make_app(RESERVED_USERNAMES=f"Boss, {PAYPAL}"))
    for username in ("boss", "b\u043ess", "paypal"):
        assert errors_of(sign_up(client, username=username)) == {("/username", "username_reserved")}
    assert sign_up(client, username="admin").status_code == 201


def test_operators_may_reserve_nothing(make_app: MakeApp) -> None:
    assert sign_up(client_of(make_app(RESERVED_USERNAMES=",")), username="admin").status_code == 201
