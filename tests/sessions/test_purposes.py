"""What was made for one purpose is good for no other: tokens, cursors, and the keys behind them."""

from collections.abc import Callable

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api.kit.secrets import derive
from api.sessions.keys import Keyring
from tests.conftest import SECRET, MakeApp
from tests.support.clients import Person, client_of, new_person
from tests.support.signing import signing_key, stored_keys

ME = "/v1/users/me"
SWAPS = [("refresh-token", "cursor"), ("cursor", "signing-key"), ("signing-key", "refresh-token")]


def _by_token(path: str) -> Callable[[Person, str], TestResponse]:
    return lambda person, text: person.client.post(path, json={"refresh_token": text})


def _by_cursor(path: str) -> Callable[[Person, str], TestResponse]:
    return lambda person, text: person.client.get(path, query_string={"cursor": text}, headers=person.bearer)


# Whatever takes something that was made here, by what it takes.
CONSUMERS: dict[str, tuple[str, Callable[[Person, str], TestResponse]]] = {
    "the Authorization header": (
        "access token",
        lambda person, text: person.client.get(ME, headers={"Authorization": f"Bearer {text}"}),
    ),
    "the list of sessions": ("cursor of sessions", _by_cursor(f"{ME}/sessions")),
    "the list of users": ("cursor of users", _by_cursor("/v1/users")),
    "refreshing": ("refresh token", _by_token("/v1/sessions/refresh")),
    "signing out": ("refresh token", _by_token("/v1/sessions/sign-out")),
}


def _made(app: Flask, person: Person) -> dict[str, str]:
    """Return one of each kind of thing that the service makes and takes back, or only makes."""
    new_person(app)
    other = person.sign_in()
    return {
        "access token": other["access_token"],
        "refresh token": other["refresh_token"],
        "cursor of sessions": _cursor(person, f"{ME}/sessions"),
        "cursor of users": _cursor(person, "/v1/users"),
        "sealed key": stored_keys(app)[0].private_key,
        "key id": signing_key(app).kid,
        "session id": other["session"]["id"],
        "user id": person.id,
    }


def _cursor(person: Person, path: str) -> str:
    return str(person.call("GET", f"{path}?limit=1").get_json()["next_cursor"])


def test_each_kind_of_token_is_taken_where_it_belongs_and_nowhere_else(app: Flask, admin: Person) -> None:
    made = _made(app, admin)
    for where, (taken, send) in CONSUMERS.items():
        for kind, text in made.items():
            status = send(admin, text).status_code
            assert status in ((200, 204) if kind == taken else (401, 422)), f"{kind} to {where}: {status}"


def _attempts(person: Person, there: Person) -> dict[str, TestResponse]:
    """Let a person use elsewhere what was made here, by the purpose of the key behind it."""
    path = f"{ME}/sessions"
    bearer = there.call("GET", ME)
    page = there.client.get(f"{path}?cursor={_cursor(person, path)}", headers=_new_bearer(there))
    return {"signing-key": bearer, "cursor": page, "refresh-token": there.refresh()}


def _new_bearer(person: Person) -> dict[str, str]:
    return Person(person.client, person.user, person.sign_in()).bearer


@pytest.mark.parametrize(("purpose", "other"), SWAPS)
def test_no_key_of_one_purpose_serves_another(make_isolated: MakeApp, purpose: str, other: str) -> None:
    swapped, right = make_isolated(), make_isolated()
    service = swapped.extensions["tessera"]
    service.keys(purpose)[:] = [derive(SECRET, other)]
    swapped.extensions["tessera.keyring"] = Keyring(service.seal("signing-key"))
    person = new_person(swapped)
    person.sign_in()
    there = Person(client_of(right), person.user, person.tokens)
    seen = {name: answer.status_code for name, answer in _attempts(person, there).items()}
    refused = {"signing-key": 401, "cursor": 422, "refresh-token": 401}
    assert seen == dict.fromkeys(seen, 200) | {purpose: refused[purpose]}


def test_what_is_made_for_its_purpose_is_taken_by_another_process(make_isolated: MakeApp) -> None:
    person = new_person(make_isolated())
    person.sign_in()
    there = Person(client_of(make_isolated()), person.user, person.tokens)
    assert {answer.status_code for answer in _attempts(person, there).values()} == {200}
