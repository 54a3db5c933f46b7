"""Idempotency-Key: a repetition gets the first answer, whatever became of the first try."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from api.kit.db import db
from api.kit.idempotency import KEPT, LEASE, IdempotencyKey
from tests.conftest import MakeApp
from tests.support.chores import do_chores
from tests.support.clients import PASSWORD, ContractClient, Person, new_details, new_person
from tests.support.mail import Mailbox

USERS = "/v1/users"
KEY = "0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10"


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(datetime.now(UTC), tick=False) as traveller:
        yield traveller


def sign_up(client: ContractClient, details: dict[str, str], key: str = KEY) -> Any:
    return client.post(USERS, json=details, headers={"Idempotency-Key": key})


def kept(app: Flask) -> list[str | None]:
    with app.app_context():
        return list(db.session.scalars(sa.select(IdempotencyKey.answer)))


def test_a_repetition_gets_the_first_answer_whole(client: ContractClient) -> None:
    details = new_details()
    first, second = sign_up(client, details), sign_up(client, details)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.data == first.data
    for name in ("Location", "ETag", "Cache-Control", "Content-Type"):
        assert second.headers.get(name) == first.headers.get(name)
    assert second.headers["X-Request-Id"] != first.headers["X-Request-Id"]


def test_a_repetition_does_nothing(client: ContractClient, admin: Person, mailbox: Mailbox) -> None:
    details = new_details()
    for _ in range(3):
        sign_up(client, details)
    assert [letter.to for letter in mailbox.deliver()].count(details["email"]) == 1
    assert admin.call("GET", f"{USERS}?username={details['username']}&count=exact").get_json()["total"] == 1


def test_without_a_key_nothing_is_kept(client: ContractClient, app: Flask) -> None:
    assert client.post(USERS, json=new_details()).status_code == 201
    assert kept(app) == []


def test_members_in_another_order_are_the_same_request(client: ContractClient) -> None:
    details = new_details()
    first = sign_up(client, details)
    assert sign_up(client, dict(reversed(details.items()))).data == first.data


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("username", "somebody-else"),
        ("email", "somebody.else@example.com"),
        ("password", "another horse battery staple"),
        ("display_name", "Somebody Else"),
    ],
)
def test_the_same_key_with_another_body_is_refused(client: ContractClient, member: str, value: str) -> None:
    details = new_details()
    sign_up(client, details)
    answer = sign_up(client, details | {member: value})
    assert answer.status_code == 422
    [error] = answer.get_json()["errors"]
    assert (error["code"], error["parameter"]) == ("idempotency_key_reused", "Idempotency-Key")


def test_the_same_key_for_another_operation_is_refused(client: ContractClient) -> None:
    details = new_details()
    sign_up(client, details)
    answer = client.post(
        "/v1/password-resets", json={"email": details["email"]}, headers={"Idempotency-Key": KEY}
    )
    assert answer.get_json()["errors"][0]["code"] == "idempotency_key_reused"


def test_a_key_is_its_callers_own(app: Flask, admin: Person) -> None:
    other = new_person(app, admin=True)
    body = {"name": "support", "summary": "Helps.", "permissions": ["users:read"]}
    assert admin.call("POST", "/v1/roles", body, Idempotency_Key=KEY).status_code == 201
    assert other.call("POST", "/v1/roles", body, Idempotency_Key=KEY).status_code == 409
    assert admin.call("POST", "/v1/roles", body, Idempotency_Key=KEY).status_code == 201


def test_who_may_no_more_gets_no_answer_again(admin: Person, mina: Person) -> None:
    role = {"name": "maker", "summary": "Helps.", "permissions": ["roles:write"]}
    assert admin.call("POST", "/v1/roles", role).status_code == 201
    path = f"{USERS}/{mina.user['id']}/roles/maker"
    assert admin.call("PUT", path).status_code == 204
    body = {"name": "support", "summary": "Helps.", "permissions": ["roles:write"]}
    assert mina.call("POST", "/v1/roles", body, Idempotency_Key=KEY).status_code == 201
    assert admin.call("DELETE", path).status_code == 204
    assert mina.call("POST", "/v1/roles", body, Idempotency_Key=KEY).status_code == 403


def test_a_refusal_leaves_the_key_free(client: ContractClient, app: Flask) -> None:
    taken, details = new_details(), new_details()
    client.post(USERS, json=taken)
    assert sign_up(client, details | {"username": taken["username"]}).status_code == 409
    assert sign_up(client, details | {"password": "short"}).status_code == 422
    assert kept(app) == []
    assert sign_up(client, details).status_code == 201


def test_an_answer_without_a_body_is_given_again(mina: Person, mailbox: Mailbox) -> None:
    mailbox.deliver()
    answers = [mina.call("POST", "/v1/email-verifications", Idempotency_Key=KEY) for _ in range(2)]
    assert [(answer.status_code, answer.data) for answer in answers] == [(202, b"")] * 2
    assert len(mailbox.deliver()) == 1


def test_a_sign_in_is_one_session(mina: Person) -> None:
    body = {"identifier": mina.user["username"], "password": PASSWORD}
    answers = [
        mina.client.post("/v1/sessions", json=body, headers={"Idempotency-Key": KEY}) for _ in range(2)
    ]
    assert answers[0].get_json() == answers[1].get_json()
    assert len(mina.call("GET", f"{USERS}/me/sessions").get_json()["items"]) == 2
    wrong = body | {"password": "a password that is not right"}
    assert mina.client.post("/v1/sessions", json=wrong, headers={"Idempotency-Key": KEY}).status_code == 422


def upload(admin: Person, content: bytes) -> Any:
    headers = admin.bearer | {"Idempotency-Key": KEY, "Content-Type": "application/x-ndjson"}
    return admin.client.post("/v1/user-imports", data=content, headers=headers)


def test_an_upload_is_one_import(admin: Person) -> None:
    first = upload(admin, b'{"username":"zoe"}\n')
    assert first.status_code == 202
    assert upload(admin, b'{"username":"zoe"}\n').data == first.data
    assert upload(admin, b'{"username":"ken"}\n').status_code == 422
    assert len(admin.call("GET", "/v1/user-imports").get_json()["items"]) == 1


def claim(app: Flask, client: ContractClient, details: dict[str, str]) -> None:
    """Leave the key as a process leaves it that dies in the midst of the request."""
    sign_up(client, details)
    forget_answer(app)


def forget_answer(app: Flask) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(sa.update(IdempotencyKey).values(answer=None))


def test_while_the_first_goes_on_a_repetition_is_told_so(app: Flask, client: ContractClient) -> None:
    details = new_details()
    claim(app, client, details)
    answer = sign_up(client, details)
    assert (answer.status_code, answer.get_json()["code"]) == (409, "request_in_progress")
    assert answer.headers["Retry-After"] == "1"


ROLE = {"name": "support", "summary": "Helps.", "permissions": ["users:read"]}
REPEATABLE: dict[str, Callable[[Person, dict[str, str]], Any]] = {
    "createUser": lambda admin, details: sign_up(admin.client, details),
    "createSession": lambda admin, _: admin.call(
        "POST",
        "/v1/sessions",
        {"identifier": admin.user["username"], "password": PASSWORD},
        Idempotency_Key=KEY,
    ),
    "createRole": lambda admin, _: admin.call("POST", "/v1/roles", ROLE, Idempotency_Key=KEY),
    "createUserImport": lambda admin, _: upload(admin, b'{"username":"zoe"}\n'),
    "createEmailVerification": lambda admin, _: admin.call(
        "POST", "/v1/email-verifications", Idempotency_Key=KEY
    ),
    "createPasswordReset": lambda admin, details: admin.call(
        "POST", "/v1/password-resets", {"email": details["email"]}, Idempotency_Key=KEY
    ),
}


@pytest.mark.parametrize("operation", REPEATABLE)
def test_whatever_takes_a_key_is_answered_once(app: Flask, admin: Person, operation: str) -> None:
    details = new_details()
    first, second = (REPEATABLE[operation](admin, details) for _ in range(2))
    assert first.status_code in (201, 202)
    assert (second.status_code, second.data) == (first.status_code, first.data)
    forget_answer(app)
    third = REPEATABLE[operation](admin, details)
    assert (third.status_code, third.get_json()["code"]) == (409, "request_in_progress")


def test_all_that_creates_or_sends_takes_a_key(app: Flask) -> None:
    operations = app.extensions["tessera"].operations.values()
    assert {operation.id for operation in operations if operation.repeatable} == REPEATABLE.keys()


def test_what_died_is_tried_again_after_its_lease(
    app: Flask, client: ContractClient, clock: time_machine.Traveller
) -> None:
    claim(app, client, new_details())
    clock.shift(LEASE)
    details = new_details()
    assert [sign_up(client, details).status_code for _ in range(2)] == [201, 201]


def test_a_key_is_forgotten_after_a_day(
    app: Flask, client: ContractClient, clock: time_machine.Traveller
) -> None:
    sign_up(client, new_details())
    clock.shift(KEPT.total_seconds() - 1)
    do_chores(app)
    assert len(kept(app)) == 1
    clock.shift(1)
    assert sign_up(client, new_details()).status_code == 201
    clock.shift(KEPT)
    do_chores(app)
    assert kept(app) == []


@pytest.mark.parametrize("key", ["", " ", "a b", "\xe9", "x" * 256, "a\tb"])
def test_what_is_no_key_is_refused(client: ContractClient, key: str) -> None:
    answer = client.post(USERS, json=new_details(), headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.get_json()["code"]) == (400, "malformed_request")


def test_what_is_kept_shows_nothing(app: Flask, client: ContractClient) -> None:
    details = new_details()
    sign_up(client, details)
    with app.app_context():
        [row] = db.session.execute(sa.select(IdempotencyKey.__table__)).all()
    for secret in (*details.values(), KEY):
        assert secret not in str(row)


def test_with_a_new_secret_the_answer_is_still_there_and_without_the_old_one_it_is_refused(
    make_app: MakeApp, client: ContractClient, environ: dict[str, str]
) -> None:
    details, old, new = new_details(), environ["TESSERA_SECRET_KEY"], "b71e0c5d93f24a688d0f1e2a3c4b5d6f"
    first = sign_up(client, details)
    rotated = make_app(SECRET_KEY=f"{new},{old}").test_client()
    headers = {"Idempotency-Key": KEY}
    assert rotated.post(USERS, json=details, headers=headers).data == first.data
    without = make_app(SECRET_KEY=new).test_client()
    assert without.post(USERS, json=details, headers=headers).status_code == 422
