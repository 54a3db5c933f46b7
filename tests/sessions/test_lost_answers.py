"""A refresh whose answer was lost drops nobody, however late; one that arrived lets no old token in."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from api.kit import work
from api.kit.db import db
from api.sessions.models import Session
from tests.support.clients import Person
from tests.support.watching import session_row, statements

LATE = timedelta(days=20)  # long after the overlap, and before the idle end


@pytest.fixture
def clock(mina: Person) -> Iterator[time_machine.Traveller]:
    """A clock that stands still unless it is moved."""
    with time_machine.travel(mina.tokens["session"]["created_at"], tick=False) as traveller:
        yield traveller


def _rotate(person: Person) -> str:
    """Refresh, and return the refresh token that was exchanged for it."""
    old = str(person.tokens["refresh_token"])
    person.tokens = person.refresh().get_json()
    return old


def _code(person: Person, token: str) -> str:
    answer = person.refresh(token)
    return "ok" if answer.status_code == 200 else str(answer.get_json()["code"])


def test_the_token_before_gives_the_current_ones_while_they_were_never_used(
    mina: Person, clock: time_machine.Traveller
) -> None:
    old = _rotate(mina)
    clock.shift(LATE)
    answers = [mina.refresh(old).get_json() for _ in range(3)]
    assert {answer["refresh_token"] for answer in answers} == {mina.tokens["refresh_token"]}


def test_what_it_gives_is_good(mina: Person, clock: time_machine.Traveller) -> None:
    old = _rotate(mina)
    clock.shift(LATE)
    mina.tokens = mina.refresh(old).get_json()
    assert mina.call("GET", "/v1/users/me").status_code == 200
    assert _code(mina, mina.tokens["refresh_token"]) == "ok"


def test_once_the_new_access_token_was_used_the_one_before_ends_the_session(
    mina: Person, clock: time_machine.Traveller
) -> None:
    old = _rotate(mina)
    assert mina.call("GET", "/v1/users/me").status_code == 200
    clock.shift(timedelta(seconds=31))
    assert _code(mina, old) == "refresh_token_reused"
    assert _code(mina, mina.tokens["refresh_token"]) == "session_ended"


def test_once_the_new_refresh_token_was_used_the_one_before_it_ends_the_session(
    mina: Person, clock: time_machine.Traveller
) -> None:
    old = _rotate(mina)
    _rotate(mina)
    clock.shift(LATE)
    assert _code(mina, old) == "refresh_token_reused"


def test_an_access_token_of_before_the_refresh_confirms_nothing(
    mina: Person, clock: time_machine.Traveller
) -> None:
    before = mina.bearer
    old = _rotate(mina)
    assert mina.client.get("/v1/users/me", headers=before).status_code == 200
    clock.shift(LATE)
    assert _code(mina, old) == "ok"


def test_a_refused_request_confirms_nothing(mina: Person, clock: time_machine.Traveller) -> None:
    old = _rotate(mina)
    forged = {"Authorization": f"{mina.bearer['Authorization'][:-4]}AAAA"}
    assert mina.client.get("/v1/users/me", headers=forged).status_code == 401
    clock.shift(LATE)
    assert _code(mina, old) == "ok"


def test_a_lost_answer_does_not_outlive_a_sign_out(mina: Person, clock: time_machine.Traveller) -> None:
    old = _rotate(mina)
    assert mina.call("DELETE", "/v1/sessions/current").status_code == 204
    assert _code(mina, old) == "session_ended"


@pytest.mark.long  # on SQLite the service waits two seconds for the lock
def test_a_first_use_that_cannot_be_noted_is_answered_all_the_same(app: Flask, mina: Person) -> None:
    old = _rotate(mina)
    with app.app_context(), work.writing():
        held = sa.select(Session).where(Session.id == UUID(mina.tokens["session"]["id"])).with_for_update()
        db.session.scalar(held)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(mina.call, "GET", "/v1/users/me").result(15)
    assert answer.status_code == 200
    assert _code(mina, old) == "ok", "it was not noted"


def test_the_first_use_is_noted_once(app: Flask, mina: Person) -> None:
    _rotate(mina)
    session_id = str(mina.tokens["session"]["id"])
    assert not session_row(app, session_id).confirmed
    assert mina.call("GET", "/v1/users/me").status_code == 200
    assert session_row(app, session_id).confirmed
    with statements(app) as sent:
        assert mina.call("GET", "/v1/users/me").status_code == 200
    assert len(sent) == 1
