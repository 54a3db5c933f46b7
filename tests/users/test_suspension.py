"""Suspension: every session ends at once, nobody signs in, and it ends by itself."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from api.kit import work
from api.users import standing
from api.users.standing import SuspensionLifted, UserSuspended
from tests.support.chores import do_chores
from tests.support.clients import PASSWORD, Person, new_person
from tests.support.roles import new_holder
from tests.support.watching import in_parallel, listening, session_row, user_row

ME = "/v1/users/me"
SPAM: dict[str, Any] = {"reason": "Sends spam.", "until": None}


def refusal(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.get_json()["code"]


def of(person: Person) -> str:
    return f"/v1/users/{person.id}/suspension"


def suspend(by: Person, whom: Person, **more: Any) -> TestResponse:
    return by.call("POST", of(whom), SPAM | more)


def sign_in(person: Person, password: str = PASSWORD) -> TestResponse:
    credentials = {"identifier": person.user["username"], "password": password}
    return person.client.post("/v1/sessions", json=credentials)


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_it_is_told_to_administrators(admin: Person, mina: Person) -> None:
    made = suspend(admin, mina).get_json()
    assert (made["reason"], made["until"]) == ("Sends spam.", None)
    assert admin.call("GET", of(mina)).get_json() == made
    assert admin.call("GET", f"/v1/users/{mina.id}").get_json()["status"] == "suspended"


def test_of_two_administrators_who_saw_the_same_one_decides(admin: Person, mina: Person) -> None:
    seen = suspend(admin, mina).headers["ETag"]
    assert admin.call("GET", of(mina), If_None_Match=seen).status_code == 304
    assert admin.call("POST", of(mina), SPAM | {"reason": "Sent spam."}, If_Match=seen).status_code == 200
    assert refusal(admin.call("DELETE", of(mina), If_Match=seen)) == (412, "precondition_failed")
    assert refusal(admin.call("POST", of(mina), SPAM, If_Match=seen)) == (412, "precondition_failed")
    assert admin.call("GET", of(mina)).get_json()["reason"] == "Sent spam."


def test_it_is_nobodys_to_see_who_may_not_see_users(admin: Person, mina: Person, ken: Person) -> None:
    suspend(admin, mina)
    assert refusal(ken.call("GET", of(mina))) == (403, "permission_denied")
    assert "spam" not in admin.call("GET", f"/v1/users/{mina.id}").text


def test_every_session_ends_at_once(app: Flask, admin: Person, mina: Person) -> None:
    other = mina.sign_in()
    suspend(admin, mina)
    assert refusal(mina.call("GET", ME)) == (401, "invalid_token")
    assert refusal(mina.refresh()) == (401, "session_ended")
    assert refusal(mina.refresh(other["refresh_token"])) == (401, "session_ended")
    assert session_row(app, mina.tokens["session"]["id"]).ended_because == "user_suspended"


def test_other_services_are_told_of_the_sessions_and_not_of_the_end_of_the_user(
    admin: Person, mina: Person
) -> None:
    suspend(admin, mina)
    ended = admin.call("GET", "/v1/revocations").get_json()["items"]
    assert [(item["session_id"], item["reason"]) for item in ended] == [
        (mina.tokens["session"]["id"], "user_suspended")
    ]


def test_signing_in_is_refused_as_with_a_wrong_password(admin: Person, mina: Person) -> None:
    suspend(admin, mina)
    right, wrong = (_seen(sign_in(mina, password)) for password in (PASSWORD, "no such password"))
    assert right == wrong
    assert right[:2] == (401, "invalid_credentials")


def _seen(response: TestResponse) -> tuple[int, str, str, dict[str, str]]:
    body = response.get_json()
    headers = {name: value for name, value in response.headers if name != "X-Request-Id"}
    return response.status_code, body["code"], body["detail"], headers


def test_when_it_is_lifted_the_user_signs_in_and_no_session_is_back(admin: Person, mina: Person) -> None:
    suspend(admin, mina)
    assert admin.call("DELETE", of(mina)).status_code == 204
    assert refusal(admin.call("GET", of(mina))) == (404, "not_found")
    assert sign_in(mina).get_json()["user"]["status"] == "active"
    assert refusal(mina.call("GET", ME)) == (401, "invalid_token")


def test_what_is_none_is_not_lifted(admin: Person, mina: Person) -> None:
    assert refusal(admin.call("DELETE", of(mina))) == (404, "not_found")
    assert refusal(admin.call("DELETE", f"/v1/users/{uuid4()}/suspension")) == (404, "not_found")


def test_reason_and_end_can_be_changed(admin: Person, mina: Person) -> None:
    first = suspend(admin, mina).get_json()
    until = in_seconds(3600)
    second = suspend(admin, mina, reason="Sent spam once.", until=until).get_json()
    assert second["reason"] == "Sent spam once."
    assert second["suspended_at"] == first["suspended_at"]
    assert datetime.fromisoformat(second["until"]) == datetime.fromisoformat(until)


@pytest.mark.parametrize("path", [ME, None])
def test_nobody_suspends_themselves(app: Flask, admin: Person, path: str | None) -> None:
    new_person(app, admin=True)
    target = f"{path or f'/v1/users/{admin.id}'}/suspension"
    assert refusal(admin.call("POST", target, SPAM)) == (409, "own_account")


def test_who_is_deleted_is_not_suspended(admin: Person, mina: Person) -> None:
    mina.call("DELETE", ME)
    assert refusal(suspend(admin, mina)) == (404, "not_found")


@pytest.mark.parametrize(
    ("until", "code"),
    [
        ("2020-01-01T00:00:00Z", "not_in_future"),
        ("2027-02-30T00:00:00Z", "invalid_format"),
        ("2027-01-01T00:00:00", "invalid_format"),
        ("2027-01-01 00:00:00Z", "invalid_format"),
        ("2027-01-01T24:01:00Z", "invalid_format"),
        ("2027-01-01T00:00:60Z", "invalid_format"),
        ("2027-01-01T00:00:00+25:00", "invalid_format"),
        ("9999-12-31T23:59:59-14:00", "invalid_format"),
        ("0001-01-01T00:00:00+14:00", "invalid_format"),
        ("\u0662\u0660\u0662\u0667-01-01T00:00:00Z", "invalid_format"),
        ("in an hour, or two", "invalid_format"),
        (1893456000, "invalid_type"),
    ],
)
def test_an_end_that_is_none_is_refused(admin: Person, mina: Person, until: Any, code: str) -> None:
    refused = suspend(admin, mina, until=until)
    assert refused.status_code == 422, refused.text
    [error] = refused.get_json()["errors"]
    assert (error["pointer"], error["code"]) == ("/until", code)


@pytest.mark.parametrize(
    "until", ["2099-01-01T00:00:00Z", "2099-01-01t01:00:00.0+01:00", "2098-12-31T14:30:00.000000000-09:30"]
)
def test_an_end_is_taken_in_every_way_to_write_it(admin: Person, mina: Person, until: str) -> None:
    assert suspend(admin, mina, until=until).get_json()["until"] == "2099-01-01T00:00:00.000000Z"


# The end


def test_after_its_end_the_user_signs_in_and_is_active(app: Flask, admin: Person, mina: Person) -> None:
    suspend(admin, mina, until=in_seconds(60))
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=59)):
        assert sign_in(mina).status_code == 401
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=61)):
        assert sign_in(mina).get_json()["user"]["status"] == "active"
    assert user_row(app, mina.id).suspension_reason is None


def test_a_wrong_password_lifts_nothing(app: Flask, admin: Person, mina: Person) -> None:
    suspend(admin, mina, until=in_seconds(60))
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=61)):
        assert sign_in(mina, "no such password").status_code == 401
    assert user_row(app, mina.id).status == "suspended"


def test_after_its_end_the_worker_lifts_it(app: Flask, admin: Person, mina: Person, ken: Person) -> None:
    suspend(admin, mina, until=in_seconds(60))
    suspend(admin, ken)
    before = user_row(app, mina.id)
    do_chores(app)
    assert user_row(app, mina.id).status == "suspended"
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=61)):
        do_chores(app)
    after = user_row(app, mina.id)
    assert (after.status, after.suspended_at, after.suspended_until) == ("active", None, None)
    assert after.version == before.version + 1
    assert user_row(app, ken.id).status == "suspended"


def test_every_end_is_told(app: Flask, admin: Person, mina: Person, ken: Person) -> None:
    told: list[tuple[type, UUID]] = []
    hear = [
        (kind, lambda event: told.append((type(event), event.user_id)))
        for kind in (UserSuspended, SuspensionLifted)
    ]
    with listening(app, *hear):
        suspend(admin, mina, until=in_seconds(60))
        suspend(admin, ken)
        admin.call("DELETE", of(ken))
        with time_machine.travel(datetime.now(UTC) + timedelta(seconds=61)):
            do_chores(app)
    ids = [UUID(mina.id), UUID(ken.id)]
    suspended, lifted = ([(kind, user_id) for user_id in ids] for kind in (UserSuspended, SuspensionLifted))
    assert told == [*suspended, *reversed(lifted)]


def test_a_suspension_and_sign_ins_at_once_leave_no_session(app: Flask, admin: Person, mina: Person) -> None:
    for _ in range(8):
        answers = in_parallel(3, lambda at: suspend(admin, mina) if at == 0 else sign_in(mina))
        assert {answer.status_code for answer in answers} <= {200, 201, 401}
        for answer in answers[1:]:
            if answer.status_code == 201:
                mina.tokens = answer.get_json()
                assert refusal(mina.call("GET", ME)) == (401, "invalid_token")
        assert admin.call("DELETE", of(mina)).status_code == 204


def test_who_may_suspend_by_a_role_may_not_suspend_who_may_more(app: Flask, mina: Person) -> None:
    eve = new_holder(app, "users:write")
    assert suspend(eve, mina).status_code == 200
    assert refusal(suspend(eve, new_holder(app, "users:read"))) == (403, "permission_denied")
    with app.app_context(), work.reading():
        assert standing.suspended(UUID(mina.id)).suspension_reason == "Sends spam."
