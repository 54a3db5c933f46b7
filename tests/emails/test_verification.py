"""Confirming an address by a letter."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from api.kit.outbox import waiting
from tests.conftest import MakeApp
from tests.support.clients import ContractClient, Person, client_of, new_details, new_person
from tests.support.mail import Letter, Mailbox, deliver_all, one_time_token
from tests.support.watching import in_parallel, set_user

ME = "/v1/users/me"
DAY = 86400  # seconds that a token is good


def confirm(client: ContractClient, token: str, **more: str) -> TestResponse:
    return client.post("/v1/email-verifications/confirm", json={"token": token} | more)


def ask(person: Person) -> None:
    response = person.call("POST", "/v1/email-verifications")
    assert (response.status_code, response.get_data()) == (202, b"")


def refused(response: TestResponse) -> dict[str, Any]:
    """Return the body of the one refusal that every unfit token gets."""
    assert response.status_code == 422, response.text
    body: dict[str, Any] = response.get_json()
    assert [(e["pointer"], e["code"]) for e in body["errors"]] == [("/token", "unusable_token")]
    del body["request_id"]
    return body


def is_verified(person: Person) -> bool:
    return bool(person.call("GET", ME).get_json()["email_verified"])


@pytest.fixture
def letter(mina: Person, mailbox: Mailbox) -> Letter:
    """The letter that mina got for signing up."""
    return mailbox.only()


def test_whoever_signs_up_gets_a_letter(mina: Person, letter: Letter) -> None:
    assert (letter.to, letter.subject) == (mina.user["email"], "Confirm your e-mail address")


def test_signing_up_sends_nothing_itself(mina: Person, mailbox: Mailbox) -> None:
    assert mailbox.new() == []


def test_a_sign_up_that_is_refused_leads_to_no_letter(mina: Person, letter: Letter, mailbox: Mailbox) -> None:
    taken = new_details(email=mina.user["email"])
    assert mina.client.post("/v1/users", json=taken).status_code == 409
    assert mailbox.deliver() == []


def test_the_letter_is_in_the_users_language(app: Flask, mailbox: Mailbox) -> None:
    new_person(app, locale="ko-KR")
    assert mailbox.only().subject == "이메일 주소를 확인해 주세요"


def test_its_token_confirms_the_address(mina: Person, letter: Letter) -> None:
    response = confirm(mina.client, letter.token)
    assert (response.status_code, response.get_json()["id"]) == (200, mina.id)
    assert is_verified(mina)


def test_confirming_needs_no_sign_in_and_gives_none(
    mina: Person, letter: Letter, client: ContractClient
) -> None:
    response = confirm(client, letter.token)
    assert "token" not in response.text
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_looking_at_the_address_of_the_confirmation_uses_nothing_up(
    mina: Person, letter: Letter, method: str
) -> None:
    for path in ("", f"?token={letter.token}"):
        answer = mina.client.open(f"/v1/email-verifications/confirm{path}", method=method)
        assert (answer.status_code, set(answer.allow or ())) == (405, {"OPTIONS", "POST"})
    assert confirm(mina.client, letter.token).status_code == 200


def test_a_token_is_good_once(mina: Person, letter: Letter) -> None:
    assert confirm(mina.client, letter.token).status_code == 200
    refused(confirm(mina.client, letter.token))


def test_of_parallel_uses_of_a_token_one_succeeds(app: Flask, letter: Letter) -> None:
    statuses = in_parallel(8, lambda _: confirm(client_of(app), letter.token).status_code)
    assert sorted(statuses) == [200] + [422] * 7


def test_wrong_used_and_expired_tokens_are_refused_alike(app: Flask, mina: Person, mailbox: Mailbox) -> None:
    used = mailbox.only().token
    confirm(mina.client, used)
    expired = one_time_token(mina, "email_verification", -1)
    answers = [refused(confirm(mina.client, token)) for token in ("A" * 43, used, expired, "x", "A" * 200)]
    assert [answer for answer in answers if answer != answers[0]] == []


def test_a_token_for_another_purpose_is_none(mina: Person, letter: Letter) -> None:
    refused(confirm(mina.client, one_time_token(mina, "password_reset")))


@pytest.mark.parametrize(("seconds", "status"), [(DAY - 60, 200), (DAY + 60, 422)])
def test_a_token_is_good_for_a_day(mina: Person, letter: Letter, seconds: int, status: int) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds)):
        assert confirm(mina.client, letter.token).status_code == status


def test_how_long_a_token_is_good_is_for_the_operator_to_say(mailbox: Mailbox, make_app: MakeApp) -> None:
    app = make_app(EMAIL_TOKEN_SECONDS="7200")
    new_person(app)
    deliver_all(app)
    [letter] = mailbox.new()
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=7300)):
        refused(confirm(client_of(app), letter.token))


def test_another_letter_is_sent_when_asked_for(mina: Person, letter: Letter, mailbox: Mailbox) -> None:
    ask(mina)
    again = mailbox.only()
    assert (again.to, again.token != letter.token) == (mina.user["email"], True)


def test_another_letter_makes_the_token_before_it_good_no_more(
    mina: Person, letter: Letter, mailbox: Mailbox
) -> None:
    ask(mina)
    again = mailbox.only()
    refused(confirm(mina.client, letter.token))
    assert confirm(mina.client, again.token).status_code == 200


def test_whoever_has_confirmed_gets_no_further_letter(mina: Person, letter: Letter, mailbox: Mailbox) -> None:
    confirm(mina.client, letter.token)
    ask(mina)
    assert mailbox.deliver() == []


def test_whoever_has_no_address_gets_no_letter(mailbox: Mailbox, make_app: MakeApp) -> None:
    client = client_of(make_app(IDENTIFIERS="username"))
    details = {name: value for name, value in new_details().items() if name != "email"}
    person = Person(client, client.post("/v1/users", json=details).get_json())
    person.tokens = person.sign_in()
    ask(person)
    assert mailbox.deliver() == []


def test_a_letter_too_many_leaves_the_last_one_good(make_app: MakeApp) -> None:
    app = make_app(LIMITS="on", MAIL_LIMIT="1 per hour")
    mailbox, person = Mailbox(app), new_person(app)
    letter = mailbox.only()
    assert person.call("POST", "/v1/email-verifications").status_code == 202
    assert mailbox.deliver() == []
    assert confirm(person.client, letter.token).status_code == 200


def test_whoever_was_deleted_gets_no_letter(app: Flask, mina: Person, mailbox: Mailbox) -> None:
    assert mina.call("DELETE", ME).status_code == 204
    assert mailbox.deliver() == []
    with app.app_context():
        assert list(waiting(10)) == [], "nothing is owed any more"


def test_the_token_of_whoever_was_deleted_is_good_no_more(mina: Person, letter: Letter) -> None:
    mina.call("DELETE", ME)
    refused(confirm(mina.client, letter.token))


def test_a_suspended_user_stays_suspended(app: Flask, mina: Person, letter: Letter) -> None:
    set_user(app, mina.id, status="suspended")
    assert confirm(mina.client, letter.token).get_json()["status"] == "suspended"


def test_nobody_is_told_of_anothers_token(mina: Person, ken: Person, mailbox: Mailbox) -> None:
    letters = {letter.to: letter for letter in mailbox.deliver()}
    assert confirm(ken.client, letters[mina.user["email"]].token).get_json()["id"] == mina.id
    assert (is_verified(mina), is_verified(ken)) == (True, False)


# Links


def test_without_a_page_the_letter_holds_the_token_alone(letter: Letter) -> None:
    assert "http" not in letter.text.replace("https://id.example.com.", "")


def test_with_a_page_the_letter_links_to_it(mailbox: Mailbox, make_app: MakeApp) -> None:
    app = make_app(EMAIL_CONFIRM_URL="https://app.example.com/confirm#token={token}")
    new_person(app)
    deliver_all(app)
    [letter] = mailbox.new()
    link = f"https://app.example.com/confirm#token={letter.token}"
    assert f"\n  {link}\n" in letter.text
    assert f'<a href="{link}">' in letter.html


@pytest.mark.parametrize(
    "name", ["Host", "X-Forwarded-Host", "Forwarded", "X-Forwarded-Proto", "X-Original-Host"]
)
def test_no_header_of_a_request_has_a_part_in_a_letter(
    client: ContractClient, mailbox: Mailbox, name: str
) -> None:
    value = "host=evil.example" if name == "Forwarded" else "evil.example"
    response = client.post("/v1/users", json=new_details(), headers={name: value})
    assert response.status_code == 201
    content = bytes(mailbox.only().message)
    assert b"evil.example" not in content
    assert b"https://id.example.com" in content


# Without the feature


def test_without_the_feature_signing_up_leads_to_no_letter(mailbox: Mailbox, make_app: MakeApp) -> None:
    person = new_person(make_app(FEATURES="-emails"))
    assert mailbox.deliver() == []
    assert person.call("POST", "/v1/email-verifications").status_code == 404
