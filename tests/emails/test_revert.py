"""Taking a change of address back, whoever made it, by the letter that told of it."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import MakeApp
from tests.emails.test_change_of_address import NEW, change, emails
from tests.emails.test_verification import ME, confirm, refused
from tests.support.clients import PASSWORD, ContractClient, Person, client_of, new_person
from tests.support.mail import Letter, Mailbox
from tests.support.watching import in_parallel

BACK = "back horse battery staple"
DAYS = 7  # that a token is good


def revert(client: ContractClient, token: str, new_password: str = BACK) -> TestResponse:
    body = {"token": token, "new_password": new_password}
    return client.post("/v1/email-changes/revert", json=body)


def sign_in(client: ContractClient, identifier: str, password: str) -> int:
    credentials = {"identifier": identifier, "password": password}
    return client.post("/v1/sessions", json=credentials).status_code


def moved(person: Person, mailbox: Mailbox, email: str, *, confirmed: bool = True) -> Letter:
    """Change a person's address, and return the letter that their old one got."""
    change(person, email)
    letters = {letter.to: letter for letter in mailbox.deliver()}
    if confirmed:
        assert confirm(person.client, letters.pop(email).token).status_code == 200
    letters.pop(email, None)
    [(_, notice)] = letters.items()
    return notice


@pytest.fixture
def owner(mina: Person, mailbox: Mailbox) -> Person:
    """Mina, who has confirmed her address."""
    assert confirm(mina.client, mailbox.only().token).status_code == 200
    return mina


@pytest.fixture
def notice(owner: Person, mailbox: Mailbox) -> Letter:
    """What mina's old address got when a thief with her password took the account to another."""
    return moved(owner, mailbox, NEW)


def test_the_notice_says_what_it_is_for(notice: Letter) -> None:
    assert "take it back, with a new password for your account, within\n7 days" in notice.text


def test_the_old_address_is_the_owners_again_with_a_new_password(owner: Person, notice: Letter) -> None:
    address = owner.user["email"]
    assert revert(owner.client, notice.token).status_code == 204
    assert [sign_in(owner.client, *who) for who in [(address, BACK), (address, PASSWORD), (NEW, BACK)]] == [
        201,
        401,
        401,
    ]


def test_whoever_was_signed_in_is_not_any_more(owner: Person, notice: Letter) -> None:
    assert revert(owner.client, notice.token).status_code == 204
    assert owner.call("GET", ME).status_code == 401
    refreshed = owner.client.post(
        "/v1/sessions/refresh", json={"refresh_token": owner.tokens["refresh_token"]}
    )
    assert refreshed.status_code == 401


def test_it_is_verified(owner: Person, notice: Letter, app: Flask) -> None:
    revert(owner.client, notice.token)
    back = Person(owner.client, owner.user, _tokens(owner.client, owner.user["email"]))
    assert emails(back) == (owner.user["email"], None, True)


def _tokens(client: ContractClient, identifier: str) -> dict[str, object]:
    tokens: dict[str, object] = client.post(
        "/v1/sessions", json={"identifier": identifier, "password": BACK}
    ).get_json()
    return tokens


def test_before_the_new_address_is_confirmed_it_takes_the_wish_back(owner: Person, mailbox: Mailbox) -> None:
    change(owner)
    letters = {letter.to: letter for letter in mailbox.deliver()}
    assert revert(owner.client, letters[owner.user["email"]].token).status_code == 204
    refused(confirm(owner.client, letters[NEW].token))


def test_a_token_is_good_once(owner: Person, notice: Letter) -> None:
    assert revert(owner.client, notice.token).status_code == 204
    refused(revert(owner.client, notice.token))


def test_of_twenty_uses_at_once_one_counts(app: Flask, owner: Person, notice: Letter) -> None:
    answers = in_parallel(20, lambda _: revert(client_of(app), notice.token).status_code)
    assert sorted(answers) == [204] + [422] * 19


def test_a_password_that_is_unfit_uses_nothing_up(owner: Person, notice: Letter) -> None:
    answer = revert(owner.client, notice.token, "password")
    assert answer.get_json()["errors"][0]["pointer"] == "/new_password"
    assert revert(owner.client, notice.token).status_code == 204


def test_a_token_dies_with_its_week(owner: Person, notice: Letter) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(days=DAYS, minutes=-1), tick=False) as clock:
        refused(revert(owner.client, "x" * 43))
        clock.shift(timedelta(minutes=2))
        refused(revert(owner.client, notice.token))


@pytest.mark.parametrize("purpose", ["email-verifications", "password-resets"])
def test_it_is_good_for_nothing_else(owner: Person, notice: Letter, purpose: str) -> None:
    body = {"token": notice.token} | ({"new_password": BACK} if purpose == "password-resets" else {})
    refused(owner.client.post(f"/v1/{purpose}/confirm", json=body))


def test_a_second_change_leaves_the_first_address_its_way_back(
    owner: Person, notice: Letter, mailbox: Mailbox
) -> None:
    moved(owner, mailbox, "third@example.com")
    assert revert(owner.client, notice.token).status_code == 204
    assert sign_in(owner.client, owner.user["email"], BACK) == 201


def test_the_later_letters_are_good_no_more_once_an_earlier_one_was_used(
    owner: Person, notice: Letter, mailbox: Mailbox
) -> None:
    later = moved(owner, mailbox, "third@example.com")
    assert later.to == NEW
    assert revert(owner.client, notice.token).status_code == 204
    refused(revert(owner.client, later.token))


def test_an_earlier_letter_is_good_after_a_later_one_was_used(
    owner: Person, notice: Letter, mailbox: Mailbox
) -> None:
    """Else the thief, who reads the address in between, would lock the owner out."""
    later = moved(owner, mailbox, "third@example.com")
    assert revert(owner.client, later.token, "thief horse battery").status_code == 204
    assert revert(owner.client, notice.token).status_code == 204
    assert sign_in(owner.client, owner.user["email"], BACK) == 201


def test_an_address_that_was_never_confirmed_takes_nothing_back(mina: Person, mailbox: Mailbox) -> None:
    """It may be a stranger's."""
    mailbox.deliver()
    change(mina)
    letters = {letter.to: letter for letter in mailbox.deliver()}
    with pytest.raises(ValueError, match="not enough values"):
        _ = letters[mina.user["email"]].token
    assert "change your password now" in letters[mina.user["email"]].text


def test_an_address_that_is_anothers_by_now_stays_theirs(owner: Person, notice: Letter, app: Flask) -> None:
    new_person(app, email=owner.user["email"])
    answer = revert(owner.client, notice.token)
    assert (answer.status_code, answer.get_json()["code"]) == (409, "email_taken")
    assert emails(owner) == (NEW, None, True)


def test_a_deleted_user_takes_nothing_back(owner: Person, notice: Letter) -> None:
    assert owner.call("DELETE", ME).status_code == 204
    refused(revert(owner.client, notice.token))


def test_the_letter_links_to_the_frontend(owner: Person, mailbox: Mailbox, make_app: MakeApp) -> None:
    app = make_app(EMAIL_REVERT_URL="https://app.example.com/back#token={token}")
    change(Person(client_of(app), owner.user, owner.tokens))
    Mailbox(app).deliver()
    # Either app's courier may have written it: both are the same service to the outbox.
    [link] = [letter.text for letter in mailbox.new() if letter.to == owner.user["email"]]
    assert "https://app.example.com/back#token=" in link
