"""Confirming an address with the account's password as well (SECURITY: accounts made for others)."""

from typing import Any

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.emails.test_verification import confirm, is_verified, refused
from tests.support.clients import PASSWORD, Person, new_person
from tests.support.mail import Letter, Mailbox


@pytest.fixture
def strict(make_app: MakeApp, app: Flask) -> Flask:
    made = make_app(EMAIL_CONFIRMED_BY="letter_and_password", LIMITS="on")
    made.extensions["tessera.hasher"] = app.extensions["tessera.hasher"]
    return made


@pytest.fixture
def person(strict: Flask) -> Person:
    return new_person(strict)


@pytest.fixture
def letter(person: Person, mailbox: Mailbox) -> Letter:
    return mailbox.only()


def errors(answer: Any) -> list[tuple[str, str]]:
    return [(error["pointer"], error["code"]) for error in answer.get_json()["errors"]]


def test_the_letter_alone_confirms_nothing(person: Person, letter: Letter) -> None:
    """Whoever gets the letter of an account that somebody else made with their address knows no password."""
    answer = confirm(person.client, letter.token)
    assert (answer.status_code, errors(answer)) == (422, [("/password", "required")])
    assert not is_verified(person)


def test_a_wrong_password_confirms_nothing_and_is_counted(person: Person, letter: Letter) -> None:
    answers = [confirm(person.client, letter.token, password="not the password") for _ in range(11)]
    assert [answer.get_json()["code"] for answer in answers] == ["wrong_password"] * 10 + [
        "too_many_attempts"
    ]
    assert not is_verified(person)


def test_both_confirm_it(person: Person, letter: Letter) -> None:
    assert confirm(person.client, letter.token, password=PASSWORD).status_code == 200
    assert is_verified(person)


def test_a_token_that_is_unfit_is_told_before_a_password_is_looked_at(person: Person) -> None:
    refused(confirm(person.client, "x" * 43, password="not the password"))


def test_whoever_reads_the_letters_takes_the_account_by_a_reset(person: Person, mailbox: Mailbox) -> None:
    """Nothing is left to whoever made it: neither the password nor a session."""
    mailbox.deliver()
    person.client.post("/v1/password-resets", json={"email": person.user["email"]})
    reset = {"token": mailbox.only().token, "new_password": "another horse battery"}
    assert person.client.post("/v1/password-resets/confirm", json=reset).status_code == 204
    assert person.call("GET", "/v1/users/me").status_code == 401
    old = {"identifier": person.user["email"], "password": PASSWORD}
    assert person.client.post("/v1/sessions", json=old).status_code == 401


def test_where_the_letter_is_enough_a_password_that_is_given_must_be_right(
    mina: Person, mailbox: Mailbox
) -> None:
    token = mailbox.only().token
    answer = confirm(mina.client, token, password="not the password")
    assert (answer.status_code, answer.get_json()["code"]) == (403, "wrong_password")
    assert confirm(mina.client, token, password=PASSWORD).status_code == 200
