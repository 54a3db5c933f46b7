"""Proving once more who one is: what needs a fresh sign-in works again, and nothing else changes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import MakeApp
from tests.support.clients import PASSWORD, Person, new_person
from tests.support.watching import CountingHasher, connections_in_use, session_row, set_user

ME = "/v1/users/me"
REAUTHENTICATE = "/v1/sessions/reauthenticate"
FRESH = 300  # seconds
NEW_PASSWORD = "another horse battery staple"

SENSITIVE: dict[str, tuple[str, str, Any]] = {
    "deleting the account": ("DELETE", ME, None),
    "changing the password": (
        "PUT", f"{ME}/password", {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    ),
    "signing out everywhere": ("DELETE", f"{ME}/sessions", None),
    "signing out everywhere else": ("DELETE", f"{ME}/sessions?keep=current", None),
    "changing the address": ("PATCH", ME, {"email": "new@example.com"}),
}  # fmt: skip


@pytest.fixture
def since(mina: Person) -> Iterator[time_machine.Traveller]:
    """A clock that stands at mina's sign-in and moves by hand."""
    with time_machine.travel(mina.tokens["session"]["created_at"], tick=False) as traveller:
        yield traveller


def do(person: Person, what: str) -> TestResponse:
    method, path, body = SENSITIVE[what]
    return person.call(method, path, body)


def prove(person: Person, password: str = PASSWORD) -> TestResponse:
    return person.call("POST", REAUTHENTICATE, {"password": password})


def refusal(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


def claims(tokens: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    return found


# What needs it


def test_it_is_refused_when_the_sign_in_is_not_fresh(mina: Person, since: time_machine.Traveller) -> None:
    since.shift(FRESH + 1)
    for what in SENSITIVE:
        refused = do(mina, what)
        assert refusal(refused) == (401, "reauthentication_required"), what
        assert refused.get_json()["max_age"] == FRESH
        challenge = f'Bearer error="insufficient_user_authentication", max_age={FRESH}'
        assert refused.headers["WWW-Authenticate"] == challenge


@pytest.mark.parametrize("what", SENSITIVE)
def test_it_works_again_after_reauthenticating(
    mina: Person, since: time_machine.Traveller, what: str
) -> None:
    since.shift(FRESH + 1)
    mina.tokens = prove(mina).get_json()
    since.shift(FRESH)
    assert do(mina, what).status_code in (200, 204)


def test_what_is_refused_changes_nothing(app: Flask, mina: Person, since: time_machine.Traveller) -> None:
    since.shift(FRESH + 1)
    for what in SENSITIVE:
        do(mina, what)
    assert mina.call("GET", ME).get_json() == mina.user
    assert mina.sign_in()


def test_it_is_fresh_for_so_long_only(mina: Person, since: time_machine.Traveller) -> None:
    since.shift(FRESH + 1)
    mina.tokens = prove(mina).get_json()
    since.shift(FRESH + 1)
    assert refusal(do(mina, "deleting the account")) == (401, "reauthentication_required")


def test_another_change_needs_no_fresh_sign_in(mina: Person, since: time_machine.Traveller) -> None:
    since.shift(FRESH + 1)
    changes = {"display_name": "Mina", "locale": "ko-KR", "metadata": {"theme": "dark"}}
    assert mina.call("PATCH", ME, changes | {"username": "mina-new"}).status_code == 200


def test_an_address_among_other_changes_needs_one(mina: Person, since: time_machine.Traveller) -> None:
    since.shift(FRESH + 1)
    refused = mina.call("PATCH", ME, {"display_name": "Mina", "email": "new@example.com"})
    assert refusal(refused) == (401, "reauthentication_required")
    assert mina.call("GET", ME).get_json()["display_name"] is None


def test_ending_one_session_needs_none(mina: Person, since: time_machine.Traveller) -> None:
    other = mina.sign_in()
    since.shift(FRESH + 1)
    assert mina.call("DELETE", f"{ME}/sessions/{other['session']['id']}").status_code == 204


def test_an_administrator_needs_a_fresh_sign_in_as_well(
    admin: Person, mina: Person, since: time_machine.Traveller
) -> None:
    since.shift(FRESH + 60)
    for method, path in (
        ("DELETE", f"/v1/users/{mina.id}"),
        ("DELETE", f"/v1/users/{mina.id}/sessions"),
        ("PUT", f"/v1/users/{mina.id}/password"),
    ):
        body = {"new_password": NEW_PASSWORD} if method == "PUT" else None
        assert refusal(admin.call(method, path, body)) == (401, "reauthentication_required")


def test_how_long_it_is_fresh_is_configured(make_app: MakeApp, clock: time_machine.Traveller) -> None:
    person = new_person(make_app(FRESH_SIGN_IN_SECONDS="60"))
    clock.shift(61)
    refused = do(person, "deleting the account")
    assert refused.get_json()["max_age"] == 60


# Who may


def test_a_wrong_password_is_refused(mina: Person, since: time_machine.Traveller) -> None:
    since.shift(FRESH + 1)
    assert refusal(prove(mina, "not the password")) == (403, "wrong_password")
    assert refusal(do(mina, "deleting the account")) == (401, "reauthentication_required")


def test_a_wrong_password_ends_nothing(mina: Person) -> None:
    prove(mina, "not the password")
    assert mina.call("GET", ME).status_code == 200
    assert mina.refresh().status_code == 200


def test_the_password_of_somebody_else_does_not_help(
    mina: Person, ken: Person, since: time_machine.Traveller
) -> None:
    changed = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert ken.call("PUT", f"{ME}/password", changed).status_code == 204
    since.shift(FRESH + 1)
    assert refusal(prove(mina, NEW_PASSWORD)) == (403, "wrong_password")


def test_nobody_else_can_be_named(mina: Person, ken: Person) -> None:
    for member in ("identifier", "user_id", "refresh_token"):
        answer = mina.call("POST", REAUTHENTICATE, {"password": PASSWORD, member: ken.id})
        assert [error["pointer"] for error in answer.get_json()["errors"]] == [f"/{member}"]


def test_whoever_is_not_signed_in_is_asked_to(mina: Person) -> None:
    answer = mina.client.post(REAUTHENTICATE, json={"password": PASSWORD})
    assert refusal(answer) == (401, "authentication_required")


def test_a_session_that_has_ended_is_refused(mina: Person) -> None:
    mina.call("DELETE", "/v1/sessions/current")
    assert refusal(prove(mina)) == (401, "invalid_token")


def test_a_session_that_ends_while_the_password_is_checked_stays_ended(
    app: Flask, mina: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasher = _Interrupted(app, tmp_path)
    hasher.meanwhile = lambda: mina.call("DELETE", "/v1/sessions/current")
    monkeypatch.setitem(app.extensions, "tessera.hasher", hasher)
    assert refusal(prove(mina)) == (401, "invalid_token")
    assert session_row(app, mina.tokens["session"]["id"]).ended_because == "signed_out"


def test_a_suspended_user_is_refused(app: Flask, mina: Person) -> None:
    set_user(app, mina.id, status="suspended")
    assert refusal(prove(mina)) == (401, "invalid_token")


def test_a_user_who_is_suspended_while_the_password_is_checked_is_refused(
    app: Flask, mina: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = session_row(app, mina.tokens["session"]["id"]).authenticated_at
    hasher = _Interrupted(app, tmp_path)
    hasher.meanwhile = lambda: set_user(app, mina.id, status="suspended")
    monkeypatch.setitem(app.extensions, "tessera.hasher", hasher)
    assert prove(mina).status_code in (401, 403)
    assert session_row(app, mina.tokens["session"]["id"]).authenticated_at == before


class _Interrupted(CountingHasher):
    """Verifies, and lets something happen meanwhile."""

    meanwhile: Callable[[], Any]

    def verify(self, hashed: str | None, password: str) -> bool:
        right = super().verify(hashed, password)
        self.meanwhile()
        return right


# What it gives


def test_it_gives_what_a_refresh_gives(mina: Person) -> None:
    answer = prove(mina)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert answer.get_json().keys() == mina.tokens.keys()
    assert answer.get_json()["user"]["id"] == mina.id


def test_the_new_access_token_tells_when_the_password_was_given(
    mina: Person, since: time_machine.Traveller
) -> None:
    before = claims(mina.tokens)
    since.shift(100)
    after = claims(prove(mina).get_json())
    assert after["auth_time"] - before["auth_time"] == 100
    assert (after["sid"], after["sub"]) == (before["sid"], before["sub"])


def test_refreshing_keeps_the_time_of_the_proof(mina: Person, since: time_machine.Traveller) -> None:
    since.shift(100)
    proven = claims(prove(mina).get_json())["auth_time"]
    since.shift(100)
    assert claims(mina.refresh().get_json())["auth_time"] == proven


def test_the_old_access_token_is_fresh_as_well(mina: Person, since: time_machine.Traveller) -> None:
    since.shift(FRESH + 1)
    assert prove(mina).status_code == 200
    assert do(mina, "deleting the account").status_code == 204


def test_another_session_of_the_same_user_is_not_fresh(mina: Person, since: time_machine.Traveller) -> None:
    other = Person(mina.client, mina.user, mina.sign_in())
    since.shift(FRESH + 1)
    assert prove(mina).status_code == 200
    assert refusal(do(other, "deleting the account")) == (401, "reauthentication_required")


def test_the_refresh_token_stays_the_current_one(mina: Person) -> None:
    given = prove(mina).get_json()
    assert given["refresh_token"] == mina.tokens["refresh_token"]
    rotated = mina.refresh(given["refresh_token"]).get_json()
    assert rotated["refresh_token"] != given["refresh_token"]
    assert mina.refresh(rotated["refresh_token"]).status_code == 200


def test_both_access_tokens_live_on(mina: Person) -> None:
    given = prove(mina).get_json()
    for token in (mina.tokens["access_token"], given["access_token"]):
        answer = mina.client.get(ME, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200


def test_it_extends_no_session_beyond_its_absolute_end(
    make_app: MakeApp, clock: time_machine.Traveller
) -> None:
    person = new_person(make_app(SESSION_ABSOLUTE_SECONDS="600"))
    clock.shift(599)
    assert prove(person).get_json()["session"]["expires_at"] == person.tokens["session"]["expires_at"]
    clock.shift(1)
    assert prove(person).status_code == 401


def test_it_starts_no_session(mina: Person) -> None:
    prove(mina)
    assert len(mina.call("GET", f"{ME}/sessions").get_json()["items"]) == 1


@pytest.mark.parametrize("password", [PASSWORD, "not the password"], ids=["right", "wrong"])
def test_it_costs_one_hash_and_holds_no_connection_meanwhile(
    app: Flask, mina: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    hasher = CountingHasher(app, tmp_path)
    monkeypatch.setitem(app.extensions, "tessera.hasher", hasher)
    prove(mina, password)
    assert (hasher.counted.verified, hasher.counted.hashed) == (1, 0)
    assert hasher.counted.connections == [0]
    assert connections_in_use(app) == 0


def test_what_can_be_nobodys_password_is_refused_by_its_form(mina: Person) -> None:
    unfit: list[Any] = ["", None, 7, True, [], {}, "x" * 1025, "\x00"]
    for password in unfit:
        answer = mina.call("POST", REAUTHENTICATE, {"password": password})
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.get_json()["errors"]] == ["/password"]


def test_a_password_is_given_in_every_spelling(app: Flask) -> None:
    person = new_person(app)
    changed = {"current_password": PASSWORD, "new_password": "cr\u00e8me br\u00fbl\u00e9e"}
    assert person.call("PUT", f"{ME}/password", changed).status_code == 204
    spelt = "cre\u0300me\u00a0bru\u0302le\u0301e"
    assert prove(person, spelt).status_code == 200
