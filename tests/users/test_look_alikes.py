"""Usernames that look alike are one's alone."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from api.kit import work
from api.kit.db import db
from api.kit.hashing import Hasher
from api.users.models import User
from tests.conftest import MakeApp
from tests.support.clients import PASSWORD, ContractClient, Person, client_of, new_details, new_person
from tests.support.mail import Mailbox
from tests.support.watching import in_parallel, set_user, user_row

PAYPAL = "\u0440\u0430ypal"  # its first two letters are Cyrillic
APPLE = "\u0430\u0440\u0440\u04cf\u0435"  # all of its letters are
ME = "/v1/users/me"


def sign_up(client: ContractClient, **more: Any) -> TestResponse:
    return client.post("/v1/users", json=new_details(**more))


def refusal(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.get_json()["code"]


@pytest.mark.parametrize(
    ("held", "tried"),
    [
        ("paypal", PAYPAL),
        (PAYPAL, "paypal"),
        (PAYPAL, "PayPal"),
        ("apple", APPLE),
        (APPLE, "apple"),
        ("\u03bfsc\u03b1r", "\u043esc\u0430r"),  # Greek and Cyrillic
        ("boba", "\u0412\u041e\u0412\u0410"),
        ("mina", "mi\u0307na"),
        ("mike", "m\u0131ke"),
    ],
    ids=ascii,
)
def test_a_username_is_taken_for_whatever_looks_like_it(
    client: ContractClient, held: str, tried: str
) -> None:
    assert sign_up(client, username=held).status_code == 201
    assert refusal(sign_up(client, username=tried)) == (409, "username_taken")


@pytest.mark.parametrize(
    ("one", "other"),
    [("mina1", "minal"), ("zoo", "zo0"), ("mina", "rnina"), ("kot", "\u043a\u043e\u0442")],
    ids=ascii,
)
def test_names_that_people_tell_apart_are_two(client: ContractClient, one: str, other: str) -> None:
    assert sign_up(client, username=one).status_code == 201
    assert sign_up(client, username=other).status_code == 201


def test_a_name_that_looks_longer_than_any_is_none(client: ContractClient) -> None:
    assert sign_up(client, username="\u00e6" * 80).status_code == 201
    refused = sign_up(client, username="\u1f87" * 80)
    assert [error["code"] for error in refused.get_json()["errors"]] == ["too_long"]


def test_of_many_sign_ups_of_look_alikes_at_once_one_wins(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app()
    app.extensions["tessera.hasher"] = Hasher(19456, 2, tmp_path, cores=8)  # a queue of 32
    names = ["".join(letters) for letters in product("p\u0440", "a\u0430", "c\u0441", "e\u0435", "o\u043e")]

    def try_it(number: int) -> int:
        return sign_up(client_of(app), username=names[number]).status_code

    assert sorted(in_parallel(20, try_it)) == [201] + [409] * 19
    with app.app_context(), work.reading():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(User)) == 1


@pytest.mark.parametrize(("held", "typed"), [("paypal", PAYPAL), (PAYPAL, "paypal")], ids=ascii)
def test_a_look_alike_signs_nobody_in(client: ContractClient, held: str, typed: str) -> None:
    assert sign_up(client, username=held).status_code == 201
    for identifier, status in ((typed, 401), (held, 201)):
        credentials = {"identifier": identifier, "password": PASSWORD}
        assert client.post("/v1/sessions", json=credentials).status_code == status


def test_a_name_is_changed_to_no_look_alike_of_anothers(app: Flask, mina: Person) -> None:
    new_person(app, username="paypal")
    assert refusal(mina.call("PATCH", ME, {"username": PAYPAL})) == (409, "username_taken")


def test_ones_own_name_is_changed_to_a_look_alike(app: Flask) -> None:
    person = new_person(app, username="paypal")
    assert person.call("PATCH", ME, {"username": PAYPAL}).get_json()["username"] == PAYPAL
    assert refusal(sign_up(person.client, username="paypal")) == (409, "username_taken")


def test_who_changes_their_name_leaves_what_looks_like_it_to_others(app: Flask) -> None:
    person = new_person(app, username="paypal")
    assert person.call("PATCH", ME, {"username": "mina"}).status_code == 200
    assert sign_up(person.client, username=PAYPAL).status_code == 201


def test_who_looked_like_another_before_that_was_refused_keeps_the_name(app: Flask) -> None:
    new_person(app, username="paypal")
    person = new_person(app)
    set_user(app, person.id, username=PAYPAL, username_key=PAYPAL, username_skeleton=None)
    unchanged = {"username": PAYPAL, "display_name": "Mina"}
    assert person.call("PATCH", ME, unchanged).get_json()["display_name"] == "Mina"
    assert user_row(app, person.id).username_skeleton is None


def test_whoever_privately_wants_a_look_alike_is_told_at_their_own_address(
    make_app: MakeApp, mina: Person
) -> None:
    private = make_app(SIGN_UP="private")
    letters = Mailbox(private)
    new_person(make_app(), username="paypal")
    letters.deliver()
    details = new_details(username=PAYPAL)
    assert client_of(private).post("/v1/users", json=details).status_code == 202
    [letter] = letters.deliver()
    assert (letter.to, "username is taken" in letter.text) == (details["email"], True)
