"""Whether users may sign in before their address is confirmed."""

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import MakeApp
from tests.support.clients import PASSWORD, Person, client_of, new_person
from tests.support.mail import Mailbox
from tests.support.watching import set_user

WRONG = "not the password"


@pytest.fixture
def strict(make_app: MakeApp) -> Flask:
    """A service at which nobody signs in unverified."""
    return make_app(UNVERIFIED_SIGN_IN="refused")


def sign_in(app: Flask, person: Person, password: str = PASSWORD) -> TestResponse:
    credentials = {"identifier": person.user["username"], "password": password}
    return client_of(app).post("/v1/sessions", json=credentials)


def test_by_default_they_may(app: Flask) -> None:
    assert sign_in(app, new_person(app)).status_code == 201


def test_where_they_may_not_the_answer_is_that_to_a_wrong_password(strict: Flask, mina: Person) -> None:
    answers = [sign_in(strict, mina, password) for password in (PASSWORD, WRONG)]
    seen = [
        (answer.status_code, {k: v for k, v in answer.get_json().items() if k != "request_id"})
        for answer in answers
    ]
    assert seen[0] == seen[1]
    assert seen[0][0] == 401


def test_who_is_verified_may(strict: Flask, app: Flask, mina: Person) -> None:
    set_user(app, mina.id, email_verified=True)
    assert sign_in(strict, mina).status_code == 201


def test_the_right_password_brings_another_letter_and_a_wrong_one_none(strict: Flask, mina: Person) -> None:
    mailbox = Mailbox(strict)
    mailbox.deliver()
    sign_in(strict, mina, WRONG)
    assert mailbox.deliver() == []
    sign_in(strict, mina)
    [letter] = mailbox.deliver()
    confirmed = client_of(strict).post("/v1/email-verifications/confirm", json={"token": letter.token})
    assert confirmed.status_code == 200
    assert sign_in(strict, mina).status_code == 201
