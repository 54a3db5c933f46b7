"""`tessera user show`, `suspend`, `unsuspend`, `restore` and `roles`."""

from datetime import UTC, datetime

import pytest
from flask import Flask

from tests.support.clients import PASSWORD, Person
from tests.support.commands import Ended, tessera_of
from tests.support.roles import new_role
from tests.support.watching import set_user, user_row

ME = "/v1/users/me"


def user(app: Flask, *arguments: str) -> Ended:
    return tessera_of(app, "user", *arguments)


def failed(ended: Ended) -> str:
    """Return why a command failed, in words."""
    assert (ended.code, ended.output) == (1, ""), ended
    assert "Traceback" not in ended.errors
    return ended.errors


def name_of(person: Person) -> str:
    return str(person.user["username"])


def test_a_user_is_shown_by_any_of_their_names(app: Flask, mina: Person) -> None:
    shown = {user(app, "show", name).output for name in (name_of(mina), mina.user["email"].upper(), mina.id)}
    [output] = shown
    lines = [line.split(None, 1) for line in output.splitlines()]
    assert lines[0] == [name_of(mina), mina.id]
    assert ["status", "active"] in lines
    assert ["e-mail", f"{mina.user['email']}, not confirmed"] in lines
    assert ["roles", "none"] in lines
    assert ["may", "nothing beyond their own account"] in lines


def test_what_a_user_may_is_shown(app: Flask, mina: Person) -> None:
    role = new_role(app, "users:write", "users:read")
    assert user(app, "roles", name_of(mina), "--grant", role).output == f"{name_of(mina)} has {role}.\n"
    lines = [line.split(None, 1) for line in user(app, "show", name_of(mina)).output.splitlines()]
    assert ["roles", role] in lines
    assert ["may", "users:read, users:write"] in lines


@pytest.mark.parametrize(
    "name", ["nobody-of-this-name", "nobody@example.com", "0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10", "", "@"]
)
@pytest.mark.parametrize(
    "words",
    [["show"], ["suspend", "--reason", "x"], ["unsuspend"], ["restore"], ["roles"]],
    ids=lambda words: words[0],
)
def test_who_is_nobody_is_told(app: Flask, name: str, words: list[str]) -> None:
    assert failed(user(app, *words, name)) == f"Error: There is no user {name}.\n"


def test_a_user_is_suspended_and_back(app: Flask, mina: Person) -> None:
    ended = user(
        app, "suspend", name_of(mina), "--reason", "Sends spam.", "--until", "2099-01-31T12:00:00+01:00"
    )
    assert ended.output == f"Suspended {name_of(mina)}, until 2099-01-31 11:00:00 UTC.\n"
    assert mina.call("GET", ME).status_code == 401
    shown = user(app, "show", name_of(mina)).output
    assert "until 2099-01-31 11:00:00 UTC" in shown
    assert "Sends spam." in shown
    assert user(app, "unsuspend", name_of(mina)).output == f"{name_of(mina)} can sign in again.\n"
    assert mina.sign_in()["user"]["status"] == "active"


def test_a_suspension_without_an_end_says_so(app: Flask, mina: Person) -> None:
    ended = user(app, "suspend", name_of(mina), "--reason", "x")
    assert ended.output == f"Suspended {name_of(mina)}, until it is lifted.\n"


@pytest.mark.parametrize("until", ["tomorrow", "2020-01-01T00:00:00Z", "2099-02-30T00:00:00Z"])
def test_an_end_that_is_none_is_told(app: Flask, mina: Person, until: str) -> None:
    assert "  until: Must" in failed(user(app, "suspend", name_of(mina), "--reason", "x", "--until", until))
    assert user_row(app, mina.id).status == "active"


def test_who_was_deleted_at_the_end_of_time_is_shown(app: Flask, mina: Person) -> None:
    set_user(app, mina.id, status="deleted", deleted_at=datetime.max.replace(tzinfo=UTC))
    assert "deleted since 9999-12-31" in tessera_of(app, "user", "show", mina.id).output


def test_a_role_that_is_no_utf8_is_none(app: Flask, mina: Person) -> None:
    ended = tessera_of(app, "user", "roles", mina.id, "--grant", "\udcff")
    assert (ended.code, "Must be UTF-8" in ended.errors) == (2, True)


def test_who_is_not_suspended_is_told(app: Flask, mina: Person) -> None:
    assert failed(user(app, "unsuspend", name_of(mina))) == f"Error: {name_of(mina)} is not suspended.\n"


def test_who_is_deleted_is_shown_and_restored(app: Flask, mina: Person) -> None:
    mina.call("DELETE", ME)
    assert "deleted since 20" in user(app, "show", name_of(mina)).output
    assert user(app, "restore", name_of(mina)).output == f"{name_of(mina)} is back, and active.\n"
    assert mina.sign_in()["user"]["status"] == "active"
    assert failed(user(app, "restore", name_of(mina))) == "Error: The user is not deleted.\n"


def test_roles_are_given_and_taken_all_or_none(app: Flask, mina: Person) -> None:
    first, second = sorted(new_role(app) for _ in range(2))
    given = user(app, "roles", name_of(mina), "--grant", first, "--grant", second)
    assert given.output == f"{name_of(mina)} has {first}, {second}.\n"
    refused = failed(user(app, "roles", name_of(mina), "--take", first, "--take", "no-such"))
    assert refused == "Error: There is no role no-such, or the user is deleted.\n"
    assert user_row(app, mina.id).roles == [first, second]
    taken = user(app, "roles", name_of(mina), "--take", first, "--take", second)
    assert taken.output == f"{name_of(mina)} has no role.\n"


def test_the_last_administrator_stays_one(app: Flask, admin: Person) -> None:
    for words in (["roles", name_of(admin), "--take", "admin"], ["suspend", name_of(admin), "--reason", "x"]):
        assert failed(user(app, *words)) == "Error: This is the last administrator.\n"
    assert admin.call("GET", "/v1/users").status_code == 200


def test_an_administrator_is_made_of_somebody(app: Flask, mina: Person) -> None:
    assert user(app, "roles", name_of(mina), "--grant", "admin").output == f"{name_of(mina)} has admin.\n"
    assert mina.call("GET", "/v1/users").status_code == 200
    assert PASSWORD not in user(app, "show", name_of(mina)).all


def test_a_reason_is_asked_for(app: Flask, mina: Person) -> None:
    ended = user(app, "suspend", name_of(mina))
    assert (ended.code, "--reason" in ended.errors) == (2, True)
