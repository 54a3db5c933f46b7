"""The devices on which somebody is signed in: seeing them, ending them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from api.kit import work
from api.kit.db import db
from api.sessions.models import Session
from tests.support import databases
from tests.support.blocking import watching_locks
from tests.support.clients import ContractClient, Person, client_of
from tests.support.watching import in_parallel, session_row, statements

MINE = "/v1/users/me/sessions"
CURRENT = "/v1/sessions/current"
NOBODYS = "0199d2a4-8c2f-7a10-8e44-1b9d3f5a7c20"  # an id that no session has


def sessions_of(person: Person) -> str:
    return f"/v1/users/{person.id}/sessions"


def refusal(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


def id_of(tokens: dict[str, Any]) -> str:
    return str(tokens["session"]["id"])


def on(person: Person, tokens: dict[str, Any]) -> Person:
    """Return the person as they are on another device."""
    return Person(person.client, person.user, tokens)


def is_signed_in(person: Person) -> bool:
    """Tell whether a person's access and refresh token are good; never only one of them."""
    seen, refreshed = person.call("GET", "/v1/users/me"), person.refresh()
    assert (seen.status_code == 200) is (refreshed.status_code == 200)
    if refreshed.status_code == 200:
        person.tokens = refreshed.get_json()
        return True
    assert refusal(seen) == (401, "invalid_token")
    assert refusal(refreshed) == (401, "session_ended")
    return False


def test_a_user_sees_their_own_devices_the_newest_first(mina: Person, ken: Person) -> None:
    phone, laptop = mina.sign_in(device_name="phone"), mina.sign_in(device_name="laptop")
    listed = mina.call("GET", MINE).get_json()
    assert [item["id"] for item in listed["items"]] == [id_of(laptop), id_of(phone), id_of(mina.tokens)]
    assert [item["device_name"] for item in listed["items"]] == ["laptop", "phone", None]
    assert listed["next_cursor"] is None


def test_one_session_is_the_current_one(mina: Person) -> None:
    phone = on(mina, mina.sign_in())
    for person in (mina, phone):
        current = [item["id"] for item in person.call("GET", MINE).get_json()["items"] if item["current"]]
        assert current == [id_of(person.tokens)]


def test_a_listed_session_is_what_the_sign_in_told(mina: Person) -> None:
    assert mina.call("GET", MINE).get_json()["items"] == [mina.tokens["session"]]


def test_a_listed_session_holds_no_part_of_a_token(mina: Person) -> None:
    listed = mina.call("GET", MINE)
    assert listed.get_json()["items"][0].keys() == {
        "id", "device_name", "user_agent", "ip", "created_at", "last_used_at", "expires_at", "current", "amr"
    }  # fmt: skip
    assert "tsr_" not in listed.text
    assert mina.tokens["refresh_token"][-43:] not in listed.text


def test_sessions_that_have_ended_are_not_listed(mina: Person) -> None:
    phone = mina.sign_in()
    mina.call("DELETE", f"{MINE}/{id_of(phone)}")
    assert [item["id"] for item in mina.call("GET", MINE).get_json()["items"]] == [id_of(mina.tokens)]


def test_sessions_that_have_expired_are_not_listed(mina: Person) -> None:
    with time_machine.travel(mina.tokens["session"]["created_at"], tick=False) as clock:
        clock.shift(30 * 86400)
        now = on(mina, mina.sign_in())
        assert [item["id"] for item in now.call("GET", MINE).get_json()["items"]] == [id_of(now.tokens)]


def test_an_administrator_sees_everybodys_devices(admin: Person, mina: Person) -> None:
    items = admin.call("GET", sessions_of(mina)).get_json()["items"]
    assert items == [mina.tokens["session"] | {"current": False}]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_others_devices_are_told_from_nobodys_by_nothing(mina: Person, ken: Person, method: str) -> None:
    for path in (sessions_of(ken), f"/v1/users/{uuid4()}/sessions"):
        assert refusal(mina.call(method, path)) == (404, "not_found")
    assert is_signed_in(ken)


def test_anothers_session_is_not_ended_under_ones_own_name(mina: Person, ken: Person) -> None:
    for path in (MINE, sessions_of(mina), sessions_of(ken)):
        assert refusal(mina.call("DELETE", f"{path}/{id_of(ken.tokens)}")) == (404, "not_found")
    assert is_signed_in(ken)


def test_an_administrator_ends_a_session_only_under_its_own_user(
    admin: Person, mina: Person, ken: Person
) -> None:
    assert admin.call("DELETE", f"{sessions_of(mina)}/{id_of(ken.tokens)}").status_code == 404
    assert is_signed_in(ken)
    assert admin.call("DELETE", f"{sessions_of(ken)}/{id_of(ken.tokens)}").status_code == 204
    assert not is_signed_in(ken)


def test_a_session_that_is_none_is_not_found(mina: Person) -> None:
    assert refusal(mina.call("DELETE", f"{MINE}/{uuid4()}")) == (404, "not_found")


def test_a_session_id_that_is_none_is_unfit(mina: Person) -> None:
    for session_id in ("current", "me", "1", id_of(mina.tokens).upper()):
        answer = mina.call("DELETE", f"{MINE}/{session_id}")
        assert answer.status_code == 422
        assert [error["parameter"] for error in answer.get_json()["errors"]] == ["session_id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", MINE), ("DELETE", MINE), ("DELETE", f"{MINE}/{NOBODYS}"), ("DELETE", CURRENT)],
)
def test_whoever_is_not_signed_in_is_asked_to(client: ContractClient, method: str, path: str) -> None:
    assert refusal(client.open(path, method=method)) == (401, "authentication_required")


def test_signing_out_ends_the_current_session_alone(mina: Person) -> None:
    phone = on(mina, mina.sign_in())
    assert mina.call("DELETE", CURRENT).status_code == 204
    assert not is_signed_in(mina)
    assert is_signed_in(phone)


def test_one_device_is_signed_out_from_another(mina: Person) -> None:
    phone = on(mina, mina.sign_in())
    assert mina.call("DELETE", f"{MINE}/{id_of(phone.tokens)}").status_code == 204
    assert not is_signed_in(phone)
    assert is_signed_in(mina)


def test_the_current_session_can_be_ended_by_its_id(mina: Person) -> None:
    assert mina.call("DELETE", f"{MINE}/{id_of(mina.tokens)}").status_code == 204
    assert not is_signed_in(mina)


def test_signing_out_everywhere_ends_every_session(mina: Person, ken: Person) -> None:
    phone = on(mina, mina.sign_in())
    assert mina.call("DELETE", MINE).status_code == 204
    assert [is_signed_in(person) for person in (mina, phone, ken)] == [False, False, True]


@databases.ON_POSTGRESQL
def test_sessions_that_end_together_are_locked_in_the_order_of_their_ids(app: Flask, mina: Person) -> None:
    """Two requests that end the same sessions in other orders would wait for each other."""
    first, second = sorted(UUID(one["session"]["id"]) for one in (mina.tokens, mina.sign_in()))
    with app.app_context(), work.writing():  # which puts it behind the other in the index and in the table
        later = sa.update(Session).where(Session.id == first)
        db.session.execute(later.values(created_at=datetime.now(UTC) + timedelta(minutes=1)))
    lock = sa.select(Session.id).with_for_update(nowait=True)
    with watching_locks(app) as wait_for_request, ThreadPoolExecutor(1) as pool:
        with app.app_context(), work.writing():
            db.session.execute(lock.where(Session.id == first))
            signed_out = pool.submit(mina.call, "DELETE", "/v1/users/me/sessions")
            wait_for_request()
            db.session.execute(lock.where(Session.id == second))  # the request has not locked it
        assert signed_out.result().status_code == 204


def test_signing_out_everywhere_else_keeps_the_current_session(mina: Person) -> None:
    phone, laptop = on(mina, mina.sign_in()), on(mina, mina.sign_in())
    assert phone.call("DELETE", f"{MINE}?keep=current").status_code == 204
    assert [is_signed_in(person) for person in (mina, phone, laptop)] == [False, True, False]


def test_signing_out_everywhere_else_is_no_error_where_there_is_no_else(mina: Person) -> None:
    assert mina.call("DELETE", f"{MINE}?keep=current").status_code == 204
    assert is_signed_in(mina)


def test_an_administrator_signs_a_user_out_everywhere(admin: Person, mina: Person) -> None:
    for query in ("", "?keep=current"):
        mina.tokens = mina.sign_in()
        assert admin.call("DELETE", f"{sessions_of(mina)}{query}").status_code == 204
        assert not is_signed_in(mina)
    assert is_signed_in(admin)


@pytest.mark.parametrize(
    "query", ["keep=all", "keep=", "keep=Current", "keep=current&keep=current", "except=current"]
)
def test_what_to_keep_must_be_clear(mina: Person, query: str) -> None:
    assert refusal(mina.call("DELETE", f"{MINE}?{query}")) == (422, "validation_failed")
    assert is_signed_in(mina)


def test_a_session_is_ended_once(mina: Person) -> None:
    phone = id_of(mina.sign_in())
    answers = [mina.call("DELETE", f"{MINE}/{phone}").status_code for _ in range(2)]
    assert answers == [204, 404]


def test_a_session_that_has_expired_is_not_there_to_be_ended(app: Flask, mina: Person) -> None:
    with time_machine.travel(mina.tokens["session"]["created_at"], tick=False) as clock:
        clock.shift(30 * 86400)
        now = on(mina, mina.sign_in())
        assert now.call("DELETE", f"{MINE}/{id_of(mina.tokens)}").status_code == 404


def test_of_parallel_endings_of_one_session_one_is_made(app: Flask, mina: Person) -> None:
    path = f"{MINE}/{id_of(mina.sign_in())}"
    answers = in_parallel(4, lambda _: client_of(app).delete(path, headers=mina.bearer).status_code)
    assert sorted(answers) == [204, 404, 404, 404]


def test_whoever_is_signed_out_signs_in_again(mina: Person) -> None:
    mina.call("DELETE", CURRENT)
    assert is_signed_in(on(mina, mina.sign_in()))


def test_an_ended_session_keeps_its_row(app: Flask, mina: Person) -> None:
    mina.call("DELETE", CURRENT)
    row = session_row(app, id_of(mina.tokens))
    assert (row.ended_at is not None, row.ended_because) == (True, "signed_out")


def test_the_list_comes_in_pages(mina: Person) -> None:
    expected = [id_of(mina.tokens), *(id_of(mina.sign_in()) for _ in range(4))][::-1]
    seen, query = [], "limit=2"
    while True:
        answer = mina.call("GET", f"{MINE}?{query}")
        page = answer.get_json()
        seen.append([item["id"] for item in page["items"]])
        if page["next_cursor"] is None:
            break
        query = f"limit=2&cursor={page['next_cursor']}"
        assert answer.headers["Link"] == f'<https://id.example.com{MINE}?{query}>; rel="next"'
    assert seen == [expected[:2], expected[2:4], expected[4:]]


def test_a_cursor_of_ones_own_sessions_opens_nobody_elses(admin: Person, mina: Person) -> None:
    mina.sign_in()
    cursor = mina.call("GET", f"{MINE}?limit=1").get_json()["next_cursor"]
    for path in (MINE, sessions_of(admin)):
        refused = admin.call("GET", f"{path}?cursor={cursor}")
        assert [(e["parameter"], e["code"]) for e in refused.get_json()["errors"]] == [
            ("cursor", "invalid_cursor")
        ]
    assert admin.call("GET", f"{sessions_of(mina)}?cursor={cursor}").status_code == 200


def test_knowing_who_calls_and_answering_is_one_query(app: Flask, mina: Person) -> None:
    with statements(app) as seen:
        assert mina.call("GET", "/v1/users/me").status_code == 200
    assert len(seen) == 1


def test_a_token_that_is_not_authentic_costs_no_query(app: Flask, mina: Person) -> None:
    forged = mina.tokens["access_token"][:-5] + "AAAAA"
    with statements(app) as seen:
        answer = mina.client.get("/v1/users/me", headers={"Authorization": f"Bearer {forged}"})
    assert (answer.status_code, seen) == (401, [])


def test_of_parallel_sign_outs_none_is_told_that_there_is_nothing_here(mina: Person) -> None:
    answers = in_parallel(6, lambda _: mina.call("DELETE", "/v1/sessions/current").status_code)
    assert set(answers) <= {204, 401}
    assert 204 in answers
