"""Setting a new password by the token of a letter."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from api.kit import one_time, work
from api.kit.db import db
from api.kit.one_time import OneTimeToken
from api.users import service as users
from tests.conftest import MakeApp
from tests.emails.test_verification import refused
from tests.support import databases
from tests.support.blocking import watching_locks
from tests.support.clients import PASSWORD, ContractClient, Person, client_of, new_details, new_person
from tests.support.databases import read_apart
from tests.support.mail import Letter, Mailbox, deliver_all, one_time_token
from tests.support.watching import CountingHasher, in_parallel, session_row, set_user, statements, user_row

ME = "/v1/users/me"
NEW = "another horse battery staple"
HOUR = 3600  # seconds that a token is good
KELVIN, DOTLESS_I = "\u212a", "\u0131"


def ask(client: ContractClient, email: Any) -> TestResponse:
    return client.post("/v1/password-resets", json={"email": email})


def reset(client: ContractClient, token: str, password: str = NEW) -> TestResponse:
    return client.post("/v1/password-resets/confirm", json={"token": token, "new_password": password})


def sign_in(person: Person, password: str) -> int:
    credentials = {"identifier": person.user["username"], "password": password}
    return person.client.post("/v1/sessions", json=credentials).status_code


@pytest.fixture
def mina(mina: Person, mailbox: Mailbox) -> Person:
    """Mina, who has her letter of welcome."""
    mailbox.deliver()
    return mina


@pytest.fixture
def letter(mina: Person, mailbox: Mailbox) -> Letter:
    """The letter that she asked for."""
    assert ask(mina.client, mina.user["email"]).status_code == 202
    return mailbox.only()


# Asking


def test_whoever_asks_gets_a_letter(mina: Person, letter: Letter) -> None:
    assert (letter.to, letter.subject) == (mina.user["email"], "Set a new password")


def test_known_and_unknown_addresses_are_answered_alike(mina: Person) -> None:
    answers = [ask(mina.client, email) for email in (mina.user["email"], "nobody@example.com")]
    seen = [
        (answer.status_code, answer.get_data(), [h for h in answer.headers if h[0] != "X-Request-Id"])
        for answer in answers
    ]
    assert seen[0] == seen[1]
    assert seen[0][:2] == (202, b"")


def test_known_and_unknown_addresses_take_the_same_statements(app: Flask, mina: Person) -> None:
    ran = []
    for email in (mina.user["email"], "nobody@example.com"):
        with statements(app) as seen:
            ask(mina.client, email)
        ran.append([statement.text for statement in seen])
    assert ran[0] == ran[1]
    assert [text.split()[0] for text in ran[0]] == ["INSERT"]


def test_asking_hashes_nothing(app: Flask, mina: Person, make_app: MakeApp, tmp_path: Path) -> None:
    other = make_app()
    hasher = CountingHasher(other, tmp_path)
    other.extensions["tessera.hasher"] = hasher
    ask(client_of(other), mina.user["email"])
    assert hasher.counted.total == 0


def test_no_letter_is_sent_within_the_request(mina: Person, mailbox: Mailbox) -> None:
    ask(mina.client, mina.user["email"])
    assert mailbox.new() == []


def test_nobody_gets_a_letter_for_an_unknown_address(mina: Person, mailbox: Mailbox) -> None:
    ask(mina.client, "nobody@example.com")
    assert mailbox.deliver() == []


def test_an_address_gets_only_so_many_letters_whoever_asks(make_app: MakeApp) -> None:
    app = make_app(LIMITS="on", MAIL_LIMIT="2 per hour")
    mailbox, person = Mailbox(app), new_person(app)
    mailbox.deliver()
    letters = []
    for _ in range(3):
        assert ask(client_of(app), person.user["email"]).status_code == 202
        letters += mailbox.deliver()
    assert len(letters) == 2
    assert reset(client_of(app), letters[-1].token).status_code == 204, "the last letter is good"


def test_an_address_that_had_too_many_letters_gets_some_again_later(make_app: MakeApp) -> None:
    app = make_app(LIMITS="on", MAIL_LIMIT="1 per hour")
    mailbox, person = Mailbox(app), new_person(app)
    mailbox.deliver()
    with time_machine.travel(datetime.now(UTC), tick=False) as clock:
        numbers = []
        for _ in range(2):
            for _ in range(2):
                ask(client_of(app), person.user["email"])
            numbers.append(len(mailbox.deliver()))
            clock.shift(HOUR)
    assert numbers == [1, 1]


@pytest.mark.parametrize("spelling", [str.upper, str.title, lambda email: email.replace("k", KELVIN)])
def test_a_letter_goes_to_the_address_that_is_stored(app: Flask, mailbox: Mailbox, spelling: Any) -> None:
    new_person(app, email="mike@example.com")
    mailbox.deliver()
    assert ask(client_of(app), spelling("mike@example.com")).status_code == 202
    assert [letter.to for letter in mailbox.deliver()] == ["mike@example.com"]


def test_an_address_that_only_looks_like_ones_own_gets_nothing(app: Flask, mailbox: Mailbox) -> None:
    new_person(app, email="mike@example.com")
    mailbox.deliver()
    assert ask(client_of(app), f"m{DOTLESS_I}ke@example.com").status_code == 202
    assert mailbox.deliver() == []


@databases.ON_SQLITE
@pytest.mark.parametrize(
    "form", ["list", "two", "object", "comma", "semicolon", "space", "name", "lines", "null"]
)
def test_what_is_not_one_address_is_refused_and_nobody_gets_a_letter(
    mina: Person, mailbox: Mailbox, form: str
) -> None:
    mail, evil = mina.user["email"], "evil@example.com"
    forms: dict[str, Any] = {
        "list": [mail],
        "two": [mail, evil],
        "object": {"email": mail},
        "comma": f"{mail},{evil}",
        "semicolon": f"{mail};{evil}",
        "space": f"{mail} {evil}",
        "name": f"{mail} <{evil}>",
        "lines": f"{mail}\r\nBcc: {evil}",
        "null": None,
    }
    response = ask(mina.client, forms[form])
    assert response.status_code == 422
    assert {error["pointer"] for error in response.get_json()["errors"]} == {"/email"}
    assert mailbox.deliver() == []


def test_an_address_given_twice_is_refused(mina: Person, mailbox: Mailbox) -> None:
    body = f'{{"email": "{mina.user["email"]}", "email": "evil@example.com"}}'
    answer = mina.client.post("/v1/password-resets", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert mailbox.deliver() == []


def test_whoever_was_deleted_gets_no_letter(mina: Person, mailbox: Mailbox) -> None:
    ask(mina.client, mina.user["email"])
    mina.call("DELETE", ME)
    assert mailbox.deliver() == []


@pytest.mark.parametrize("name", ["Host", "X-Forwarded-Host", "Forwarded"])
def test_no_header_of_a_request_has_a_part_in_a_letter(mina: Person, mailbox: Mailbox, name: str) -> None:
    value = "host=evil.example" if name == "Forwarded" else "evil.example"
    mina.client.post("/v1/password-resets", json={"email": mina.user["email"]}, headers={name: value})
    assert b"evil.example" not in bytes(mailbox.only().message)


def test_with_a_page_the_letter_links_to_it(
    app: Flask, mina: Person, mailbox: Mailbox, make_app: MakeApp
) -> None:
    ask(mina.client, mina.user["email"])
    deliver_all(make_app(PASSWORD_RESET_URL="https://app.example.com/reset#token={token}"))
    [letter] = mailbox.new()
    assert f"https://app.example.com/reset#token={letter.token}" in letter.text


# Setting


def test_the_token_sets_a_new_password(mina: Person, letter: Letter) -> None:
    assert reset(mina.client, letter.token).status_code == 204
    assert (sign_in(mina, PASSWORD), sign_in(mina, NEW)) == (401, 201)


def test_it_gives_no_tokens(mina: Person, letter: Letter) -> None:
    answer = reset(mina.client, letter.token)
    assert (answer.get_data(), answer.headers.get("Set-Cookie")) == (b"", None)


def test_it_ends_every_session(app: Flask, mina: Person, letter: Letter) -> None:
    sessions = [mina.tokens, mina.sign_in(), mina.sign_in()]
    reset(mina.client, letter.token)
    for tokens in sessions:
        assert session_row(app, tokens["session"]["id"]).ended_because == "password_reset"
        assert mina.refresh(tokens["refresh_token"]).get_json()["code"] == "session_ended"
    assert mina.call("GET", ME).status_code == 401


def test_it_verifies_the_address(app: Flask, mina: Person, letter: Letter) -> None:
    reset(mina.client, letter.token)
    assert user_row(app, mina.id).email_verified


def test_it_throws_out_whoever_took_the_address_first(app: Flask, mina: Person, letter: Letter) -> None:
    """Somebody signed up with her address, and wished for one of their own to be the account's."""
    assert mina.call("PATCH", ME, {"email": "thief@example.com"}).status_code == 200
    reset(mina.client, letter.token)
    row = user_row(app, mina.id)
    assert (row.email, row.pending_email, sign_in(mina, PASSWORD)) == (mina.user["email"], None, 401)


def test_it_does_not_enable_a_suspended_user(app: Flask, mina: Person, letter: Letter) -> None:
    set_user(app, mina.id, status="suspended")
    assert reset(mina.client, letter.token).status_code == 204
    assert (user_row(app, mina.id).status, sign_in(mina, NEW)) == ("suspended", 401)


def test_what_fails_ends_no_session_and_leaves_the_token(app: Flask, mina: Person, letter: Letter) -> None:
    assert reset(mina.client, letter.token, "short").status_code == 422
    assert reset(mina.client, "A" * 43).status_code == 422
    assert mina.call("GET", ME).status_code == 200
    assert reset(mina.client, letter.token).status_code == 204


def test_an_unfit_password_is_named(mina: Person, letter: Letter) -> None:
    answer = reset(mina.client, letter.token, "short")
    assert [(e["pointer"], e["code"]) for e in answer.get_json()["errors"]] == [
        ("/new_password", "too_short")
    ]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_looking_at_the_address_of_the_confirmation_uses_nothing_up(
    mina: Person, letter: Letter, method: str
) -> None:
    answer = mina.client.open(f"/v1/password-resets/confirm?token={letter.token}", method=method)
    assert (answer.status_code, set(answer.allow or ())) == (405, {"OPTIONS", "POST"})
    assert reset(mina.client, letter.token).status_code == 204


# Tokens


def test_a_token_has_256_bits(letter: Letter) -> None:
    assert len(letter.token) * 6 // 8 == 32


def test_no_two_tokens_are_alike(mina: Person, mailbox: Mailbox) -> None:
    assert len({one_time_token(mina, "password_reset") for _ in range(20)}) == 20


def test_only_the_digest_of_a_token_is_kept(app: Flask, letter: Letter, database: str) -> None:
    with app.app_context(), work.reading():
        [row] = db.session.scalars(sa.select(OneTimeToken).where(OneTimeToken.purpose == "password_reset"))
    assert row.digest == hashlib.sha256(f"password_reset:{letter.token}".encode()).digest()
    if database.startswith("sqlite"):
        path = Path(database.removeprefix("sqlite:///"))
        held = b"".join(read_apart(file) for file in path.parent.glob(f"{path.name}*"))
        assert letter.token.encode() not in held


@pytest.mark.parametrize(("seconds", "status"), [(HOUR - 60, 204), (HOUR + 60, 422)])
def test_a_token_is_good_for_an_hour(mina: Person, letter: Letter, seconds: int, status: int) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds)):
        assert reset(mina.client, letter.token).status_code == status


def test_a_token_for_another_purpose_is_none(mina: Person) -> None:
    refused(reset(mina.client, one_time_token(mina, "email_verification")))


def test_wrong_used_and_expired_tokens_are_refused_alike(mina: Person, letter: Letter) -> None:
    reset(mina.client, letter.token)
    expired = one_time_token(mina, "password_reset", -1)
    answers = [
        refused(reset(mina.client, token)) for token in ("A" * 43, letter.token, expired, "x", "A" * 200)
    ]
    assert [answer for answer in answers if answer != answers[0]] == []


def test_an_unusable_token_costs_no_hash(mina: Person, make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app()
    hasher = CountingHasher(app, tmp_path)
    app.extensions["tessera.hasher"] = hasher
    refused(reset(client_of(app), "A" * 43))
    assert hasher.counted.total == 0


def test_no_connection_is_held_while_hashing(
    mina: Person, letter: Letter, make_app: MakeApp, tmp_path: Path
) -> None:
    app = make_app()
    hasher = CountingHasher(app, tmp_path)
    app.extensions["tessera.hasher"] = hasher
    assert reset(client_of(app), letter.token).status_code == 204
    assert hasher.counted.connections == [0]


def test_of_20_parallel_uses_of_a_token_one_succeeds(app: Flask, mina: Person, letter: Letter) -> None:
    def use(number: int) -> int:
        while True:  # who is told that there are too many comes again, as they are asked to
            status = reset(client_of(app), letter.token, f"{NEW} {number}").status_code
            if status != 503:
                return status

    statuses = in_parallel(20, use)
    assert sorted(statuses) == [204] + [422] * 19
    winner = statuses.index(204)
    assert sign_in(mina, f"{NEW} {winner}") == 201


def test_another_letter_makes_the_token_before_it_good_no_more(
    mina: Person, letter: Letter, mailbox: Mailbox
) -> None:
    ask(mina.client, mina.user["email"])
    again = mailbox.only()
    refused(reset(mina.client, letter.token))
    assert reset(mina.client, again.token).status_code == 204


def test_of_several_letters_the_last_one_counts(mina: Person, mailbox: Mailbox) -> None:
    letters = []
    for _ in range(3):
        ask(mina.client, mina.user["email"])
        letters.append(mailbox.only())
    statuses = [reset(mina.client, letter.token).status_code for letter in letters]
    assert statuses == [422, 422, 204]


def test_of_several_letters_that_wait_the_last_one_is_carried(mina: Person, mailbox: Mailbox) -> None:
    """What a mail server that was away gets is not a heap of letters with dead tokens."""
    for _ in range(3):
        ask(mina.client, mina.user["email"])
    assert reset(mina.client, mailbox.only().token).status_code == 204


def test_another_password_makes_it_good_no_more(mina: Person, letter: Letter) -> None:
    body = {"current_password": PASSWORD, "new_password": NEW}
    assert mina.call("PUT", f"{ME}/password", body).status_code == 204
    refused(reset(mina.client, letter.token))


def test_another_address_makes_it_good_no_more(mina: Person, letter: Letter, mailbox: Mailbox) -> None:
    mina.call("PATCH", ME, {"email": "new@example.com"})
    token = next(new.token for new in mailbox.deliver() if new.to == "new@example.com")
    confirmed = mina.client.post("/v1/email-verifications/confirm", json={"token": token})
    assert confirmed.status_code == 200
    refused(reset(mina.client, letter.token))


def test_an_address_that_an_administrator_changes_makes_it_good_no_more(
    mina: Person, letter: Letter, admin: Person
) -> None:
    admin.call("PATCH", f"/v1/users/{mina.id}", {"email": "new@example.com"})
    refused(reset(mina.client, letter.token))


def test_deletion_makes_it_good_no_more(mina: Person, letter: Letter) -> None:
    mina.call("DELETE", ME)
    refused(reset(mina.client, letter.token))


def test_a_reset_takes_the_user_before_the_token(app: Flask, mina: Person, letter: Letter) -> None:
    """Everything that changes both locks them in this order, so that no two deadlock."""
    with ThreadPoolExecutor(1) as pool, watching_locks(app) as wait_until_blocked:
        with app.app_context(), work.writing():
            users.locked(UUID(mina.id))
            done = pool.submit(lambda: reset(client_of(app), letter.token).status_code)
            wait_until_blocked()
            one_time.withdraw(UUID(mina.id), "password_reset")
        assert done.result() == 422


# Without other features


def test_without_the_feature_there_is_no_reset(mina: Person, make_app: MakeApp) -> None:
    client = client_of(make_app(FEATURES="-passwords"))
    assert ask(client, mina.user["email"]).status_code == 404


def test_without_notices_a_reset_sends_no_further_letter(mailbox: Mailbox, make_app: MakeApp) -> None:
    app = make_app(FEATURES="-notices")
    details = new_details()
    client_of(app).post("/v1/users", json=details)
    ask(client_of(app), details["email"])
    deliver_all(app)
    token = next(letter.token for letter in mailbox.new() if letter.subject == "Set a new password")
    assert reset(client_of(app), token).status_code == 204
    assert mailbox.deliver() == []
