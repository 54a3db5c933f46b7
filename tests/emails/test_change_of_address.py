"""Changing one's address: it is pending until the new one is confirmed."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from api.kit import one_time, work
from api.users import service as users
from tests.conftest import MakeApp
from tests.emails.test_verification import ask, confirm, refused
from tests.support.blocking import watching_locks
from tests.support.clients import PASSWORD, Person, client_of, new_details, new_person
from tests.support.mail import Letter, Mailbox
from tests.support.watching import in_parallel, set_user

ME = "/v1/users/me"
NEW = "new@example.com"
FRESH_SECONDS = 300


def change(person: Person, email: str = NEW) -> TestResponse:
    response = person.call("PATCH", ME, {"email": email})
    assert response.status_code == 200, response.text
    return response


def emails(person: Person) -> tuple[str, str | None, bool]:
    """Return the address, the pending one, and whether the first is verified."""
    user = person.call("GET", ME).get_json()
    return user["email"], user["pending_email"], user["email_verified"]


def sign_in(person: Person, identifier: str) -> int:
    credentials = {"identifier": identifier, "password": PASSWORD}
    return person.client.post("/v1/sessions", json=credentials).status_code


@pytest.fixture
def owner(mina: Person, mailbox: Mailbox) -> Person:
    """Mina, who has confirmed her address."""
    assert confirm(mina.client, mailbox.only().token).status_code == 200
    return mina


@pytest.fixture
def letters(owner: Person, mailbox: Mailbox) -> dict[str, Letter]:
    """The letters, by whom they are to, that her wish for another address led to."""
    change(owner)
    return {letter.to: letter for letter in mailbox.deliver()}


def test_a_new_address_is_pending(owner: Person) -> None:
    answer = change(owner).get_json()
    assert (answer["email"], answer["pending_email"], answer["email_verified"]) == (
        owner.user["email"],
        NEW,
        True,
    )


def test_the_new_address_gets_a_token_and_the_old_one_a_notice(
    owner: Person, letters: dict[str, Letter]
) -> None:
    assert set(letters) == {NEW, owner.user["email"]}
    assert letters[NEW].subject == "Confirm your e-mail address"
    notice = letters[owner.user["email"]]
    assert (notice.subject, NEW in notice.text) == ("Your e-mail address is about to change", True)


def test_the_notice_holds_nothing_that_confirms(owner: Person, letters: dict[str, Letter]) -> None:
    refused(confirm(owner.client, letters[owner.user["email"]].token))


def test_until_it_is_confirmed_the_old_address_signs_in(owner: Person, letters: dict[str, Letter]) -> None:
    assert (sign_in(owner, owner.user["email"]), sign_in(owner, NEW)) == (201, 401)


def test_until_it_is_confirmed_a_reset_goes_to_the_old_address(
    owner: Person, letters: dict[str, Letter], mailbox: Mailbox
) -> None:
    for email in (NEW, owner.user["email"]):
        owner.client.post("/v1/password-resets", json={"email": email})
    assert [letter.to for letter in mailbox.deliver()] == [owner.user["email"]]


def test_once_confirmed_it_is_the_users_own(owner: Person, letters: dict[str, Letter]) -> None:
    answer = confirm(owner.client, letters[NEW].token)
    assert (answer.status_code, answer.get_json()["email"]) == (200, NEW)
    assert emails(owner) == (NEW, None, True)
    assert (sign_in(owner, owner.user["email"]), sign_in(owner, NEW)) == (401, 201)


def test_a_change_needs_a_fresh_sign_in(owner: Person) -> None:
    with time_machine.travel(owner.tokens["session"]["created_at"], tick=False) as clock:
        clock.shift(FRESH_SECONDS + 1)
        answer = owner.call("PATCH", ME, {"email": NEW})
    assert (answer.status_code, answer.get_json()["code"]) == (401, "reauthentication_required")


def test_a_token_for_one_address_is_useless_after_a_change_to_another(
    owner: Person, letters: dict[str, Letter], mailbox: Mailbox
) -> None:
    change(owner, "other@example.com")
    refused(confirm(owner.client, letters[NEW].token))
    mailbox.deliver()
    refused(confirm(owner.client, letters[NEW].token))
    assert emails(owner) == (owner.user["email"], "other@example.com", True)


def test_a_token_for_the_first_address_does_not_confirm_the_second(mina: Person, mailbox: Mailbox) -> None:
    token = mailbox.only().token
    change(mina)
    mailbox.deliver()
    refused(confirm(mina.client, token))
    assert emails(mina) == (mina.user["email"], NEW, False)


def test_asking_again_sends_to_the_pending_address(
    owner: Person, letters: dict[str, Letter], mailbox: Mailbox
) -> None:
    ask(owner)
    again = mailbox.only()
    assert again.to == NEW
    refused(confirm(owner.client, letters[NEW].token))
    assert confirm(owner.client, again.token).status_code == 200


def test_ones_own_address_again_takes_the_wish_back(owner: Person, letters: dict[str, Letter]) -> None:
    change(owner, owner.user["email"])
    assert emails(owner) == (owner.user["email"], None, True)
    refused(confirm(owner.client, letters[NEW].token))


def test_a_new_password_takes_the_wish_back(owner: Person, letters: dict[str, Letter]) -> None:
    """It may have been a thief's: the notice advises its reader to change the password."""
    body = {"current_password": PASSWORD, "new_password": "another horse battery"}
    assert owner.call("PUT", f"{ME}/password", body).status_code == 204
    refused(confirm(owner.client, letters[NEW].token))
    assert emails(owner) == (owner.user["email"], None, True)


def test_a_reset_takes_the_wish_back(owner: Person, letters: dict[str, Letter], mailbox: Mailbox) -> None:
    owner.client.post("/v1/password-resets", json={"email": owner.user["email"]})
    reset = {"token": mailbox.only().token, "new_password": "another horse battery"}
    assert owner.client.post("/v1/password-resets/confirm", json=reset).status_code == 204
    refused(confirm(owner.client, letters[NEW].token))


def test_an_administrators_change_takes_the_wish_back(
    owner: Person, letters: dict[str, Letter], admin: Person
) -> None:
    changed = admin.call("PATCH", f"/v1/users/{owner.id}", {"email": "third@example.com"}).get_json()
    assert (changed["email"], changed["pending_email"]) == ("third@example.com", None)
    refused(confirm(owner.client, letters[NEW].token))


def test_a_wish_for_what_is_taken_is_answered_like_any_other(owner: Person, ken: Person) -> None:
    answer = change(owner, ken.user["email"]).get_json()
    assert answer["pending_email"] == ken.user["email"]


def test_whoever_signs_up_meanwhile_keeps_the_address(
    owner: Person, letters: dict[str, Letter], app: Flask
) -> None:
    new_person(app, email=NEW)
    answer = confirm(owner.client, letters[NEW].token)
    assert (answer.status_code, answer.get_json()["code"]) == (409, "email_taken")
    assert emails(owner) == (owner.user["email"], NEW, True)


def test_of_a_confirmation_and_a_sign_up_at_once_one_gets_the_address(
    app: Flask, owner: Person, letters: dict[str, Letter]
) -> None:
    def race(number: int) -> int:
        if number:
            return client_of(app).post("/v1/users", json=new_details(email=NEW)).status_code
        return confirm(client_of(app), letters[NEW].token).status_code

    statuses = in_parallel(2, race)
    assert statuses in ([200, 409], [409, 201])


def test_of_two_who_want_one_address_the_first_to_confirm_gets_it(
    owner: Person, letters: dict[str, Letter], ken: Person, mailbox: Mailbox
) -> None:
    change(ken)
    kens = [letter for letter in mailbox.deliver() if letter.to == NEW][-1]
    assert confirm(ken.client, kens.token).status_code == 200
    assert confirm(owner.client, letters[NEW].token).status_code == 409


def test_a_deleted_user_confirms_nothing(owner: Person, letters: dict[str, Letter]) -> None:
    assert owner.call("DELETE", ME).status_code == 204
    refused(confirm(owner.client, letters[NEW].token))


def test_a_token_for_a_new_address_dies_with_its_day(owner: Person, letters: dict[str, Letter]) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(days=1, minutes=1)):
        refused(confirm(owner.client, letters[NEW].token))


def test_a_confirmation_takes_the_user_before_the_token(
    app: Flask, owner: Person, letters: dict[str, Letter]
) -> None:
    """Everything that changes both locks them in this order, so that no two deadlock."""
    with ThreadPoolExecutor(1) as pool, watching_locks(app) as wait_until_blocked:
        with app.app_context(), work.writing():
            users.locked(UUID(owner.id))
            confirmed = pool.submit(lambda: confirm(client_of(app), letters[NEW].token).status_code)
            wait_until_blocked()
            one_time.withdraw(UUID(owner.id), "email_verification")
        assert confirmed.result() == 422


def test_without_the_feature_a_change_is_immediate_and_not_verified(
    app: Flask, mailbox: Mailbox, make_app: MakeApp
) -> None:
    person = new_person(make_app(FEATURES="-emails"))
    set_user(app, person.id, email_verified=True)
    change(person)
    assert emails(person) == (NEW, None, False)
    assert mailbox.deliver() == []
