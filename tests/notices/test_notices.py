"""Letters about what happened to an account."""

from typing import Any

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.support.clients import PASSWORD, Person, new_person
from tests.support.mail import Mailbox
from tests.support.watching import set_user

ME = "/v1/users/me"


@pytest.fixture
def mina(mina: Person, mailbox: Mailbox) -> Person:
    """Mina, who has her letter of welcome."""
    mailbox.deliver()
    return mina


def change_password(person: Person) -> None:
    body = {"current_password": PASSWORD, "new_password": "another horse battery"}
    assert person.call("PUT", f"{ME}/password", body).status_code == 204


def reuse(person: Person) -> dict[str, Any]:
    """Present a refresh token whose successor was used, and return the refusal."""
    first = person.tokens["refresh_token"]
    second = person.refresh(first).get_json()["refresh_token"]
    third = person.refresh(second).get_json()["refresh_token"]
    person.refresh(third)
    response = person.refresh(first)
    assert response.status_code == 401
    found: dict[str, Any] = response.get_json()
    return found


def test_another_password_leads_to_a_letter(mina: Person, mailbox: Mailbox) -> None:
    change_password(mina)
    letter = mailbox.only()
    assert (letter.to, letter.subject) == (mina.user["email"], "Your password was changed")


def test_a_reset_leads_to_a_letter(mina: Person, mailbox: Mailbox) -> None:
    mina.client.post("/v1/password-resets", json={"email": mina.user["email"]})
    body = {"token": mailbox.only().token, "new_password": "another horse battery"}
    assert mina.client.post("/v1/password-resets/confirm", json=body).status_code == 204
    assert mailbox.only().subject == "Your password was changed"


def test_a_refresh_token_that_came_back_leads_to_a_letter_though_it_is_refused(
    mina: Person, mailbox: Mailbox
) -> None:
    assert reuse(mina)["code"] == "refresh_token_reused"
    letter = mailbox.only()
    assert (letter.to, letter.subject) == (mina.user["email"], "A device was signed out")


def test_it_comes_once(mina: Person, mailbox: Mailbox) -> None:
    reuse(mina)
    mina.refresh(mina.tokens["refresh_token"])
    assert len(mailbox.deliver()) == 1


def test_a_password_that_was_wrong_leads_to_none(mina: Person, mailbox: Mailbox) -> None:
    body = {"current_password": "wrong horse battery", "new_password": "another horse battery"}
    assert mina.call("PUT", f"{ME}/password", body).status_code == 403
    assert mailbox.deliver() == []


def test_whoever_has_no_address_gets_none(app: Flask, mina: Person, mailbox: Mailbox) -> None:
    set_user(app, mina.id, email=None, email_key=None)
    change_password(mina)
    assert mailbox.deliver() == []


def test_without_the_feature_everything_else_goes_on(mailbox: Mailbox, make_app: MakeApp) -> None:
    person = new_person(make_app(FEATURES="-notices"))
    mailbox.deliver()
    change_password(person)
    assert mailbox.deliver() == []


def test_without_the_feature_a_refresh_token_that_came_back_is_refused_all_the_same(
    mailbox: Mailbox, make_app: MakeApp
) -> None:
    person = new_person(make_app(FEATURES="-notices"))
    mailbox.deliver()
    assert reuse(person)["code"] == "refresh_token_reused"
    assert mailbox.deliver() == []
