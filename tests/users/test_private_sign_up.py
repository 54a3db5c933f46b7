"""Private sign-up: only a letter tells whether there was an account already."""

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api.kit.settings import SettingsError
from tests.conftest import MakeApp
from tests.support.clients import PASSWORD, ContractClient, Person, client_of, new_details
from tests.support.mail import Mailbox
from tests.support.watching import CountingHasher, statements

SIGN_UP = "/v1/users"
CONFIRM = "/v1/email-verifications/confirm"


@pytest.fixture
def private(make_app: MakeApp) -> Flask:
    return make_app(SIGN_UP="private")


@pytest.fixture
def letters(private: Flask) -> Mailbox:
    return Mailbox(private)


def sign_in(client: ContractClient, details: dict[str, Any]) -> TestResponse:
    credentials = {"identifier": details["email"], "password": details["password"]}
    return client.post("/v1/sessions", json=credentials)


def seen(answer: TestResponse) -> Any:
    """Return all that a caller sees of an answer, less the request's id."""
    headers = [header for header in answer.headers if header[0] != "X-Request-Id"]
    body = answer.get_json(silent=True, force=True) or {}
    return answer.status_code, headers, {name: body[name] for name in body.keys() - {"request_id"}}


def test_whoever_signs_up_can_sign_in_once_their_address_is_confirmed(
    private: Flask, letters: Mailbox
) -> None:
    client, details = client_of(private), new_details()
    assert client.post(SIGN_UP, json=details).status_code == 202
    letters.deliver()
    assert sign_in(client, details).status_code == 401
    [letter] = letters.deliver()
    assert client.post(CONFIRM, json={"token": letter.token}).status_code == 200
    assert sign_in(client, details).status_code == 201


def test_known_and_unknown_people_are_answered_alike_after_the_same_work(
    private: Flask, mina: Person, tmp_path: Path
) -> None:
    hasher = private.extensions["tessera.hasher"] = CountingHasher(private, tmp_path)
    known = [new_details(email=mina.user["email"]), new_details(username=mina.user["username"])]
    ran = []
    for details in (new_details(), *known):
        before = hasher.counted.total
        with statements(private) as sent:
            answer = client_of(private).post(SIGN_UP, json=details)
        ran.append((seen(answer), [one.text for one in sent], hasher.counted.total - before))
    assert ran[0] == ran[1] == ran[2]
    assert ran[0][0][0] == 202
    assert ran[0][2] == 1


def test_the_owner_of_a_known_address_is_told(private: Flask, letters: Mailbox, mina: Person) -> None:
    letters.deliver()
    client_of(private).post(SIGN_UP, json=new_details(email=mina.user["email"].upper()))
    [letter] = letters.deliver()
    assert "an account with it already" in letter.text
    assert mina.sign_in()


def test_whoever_wants_a_known_username_is_told_at_their_own_address(
    private: Flask, letters: Mailbox, mina: Person
) -> None:
    letters.deliver()
    details = new_details(username=mina.user["username"])
    client_of(private).post(SIGN_UP, json=details)
    [letter] = letters.deliver()
    assert (letter.to, "username is taken" in letter.text) == (details["email"], True)
    assert sign_in(client_of(private), details).status_code == 401


def test_before_the_letter_a_sign_in_does_not_tell_who_has_the_address(
    private: Flask, letters: Mailbox, mina: Person
) -> None:
    client = client_of(private)
    taken, free = new_details(email=mina.user["email"]), new_details()
    for details in (taken, free):
        details["password"] = f"{PASSWORD} of mine"
        client.post(SIGN_UP, json=details)
    letters.deliver()
    assert seen(sign_in(client, taken)) == seen(sign_in(client, free))


def test_what_is_unfit_is_refused_as_ever(private: Flask) -> None:
    answer = client_of(private).post(SIGN_UP, json=new_details(password="short"))
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "settings", [{"IDENTIFIERS": "username"}, {"FEATURES": "-emails"}], ids=["no address", "no letters"]
)
def test_it_needs_a_way_to_tell(make_app: MakeApp, settings: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="TESSERA_SIGN_UP"):
        make_app(SIGN_UP="private", **settings)
