"""Devices over time: when they were used last, how many a user has, how they go; and signing out late."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from api.kit import work
from api.kit.db import db
from api.sessions import forgetting
from api.sessions.models import Session
from tests.conftest import MakeApp
from tests.support.chores import do_chores
from tests.support.clients import PASSWORD, Person, client_of, new_person
from tests.support.watching import in_parallel, session_row, statements

ME = "/v1/users/me"
MINE = f"{ME}/sessions"
CURRENT = "/v1/sessions/current"
DAY = 86400  # seconds
NOTED = 60  # seconds between two notes of the last use
KEPT = 30 * DAY  # for which a session is kept after its end


def id_of(tokens: dict[str, Any]) -> str:
    return str(tokens["session"]["id"])


def on(person: Person, tokens: dict[str, Any]) -> Person:
    """Return the person as they are on another device."""
    return Person(person.client, person.user, tokens)


def listed(person: Person) -> list[str]:
    """Return the ids of a person's sessions, the newest first."""
    return [item["id"] for item in person.call("GET", MINE).get_json()["items"]]


def use(person: Person) -> int:
    return person.call("GET", ME).status_code


def costs(app: Flask, person: Person) -> int:
    """Return how many statements one use of an access token takes."""
    with statements(app) as seen:
        assert use(person) == 200
    return len(seen)


@pytest.fixture
def since(mina: Person) -> Iterator[time_machine.Traveller]:
    """A clock that stands at mina's sign-in and moves by hand."""
    with time_machine.travel(mina.tokens["session"]["created_at"], tick=False) as traveller:
        yield traveller


# The last use


def test_a_use_within_a_minute_of_the_last_note_costs_one_statement(
    app: Flask, mina: Person, since: time_machine.Traveller
) -> None:
    for seconds in (0, 1, NOTED - 2):
        since.shift(seconds)
        assert costs(app, mina) == 1


def test_a_use_is_noted_once_a_minute(app: Flask, mina: Person, since: time_machine.Traveller) -> None:
    seen = []
    for _ in range(3):
        since.shift(NOTED - 1)
        seen.append(costs(app, mina))
        since.shift(1)
        seen += [costs(app, mina), costs(app, mina)]
    assert seen == [1, 2, 1] * 3


def test_the_list_shows_when_an_access_token_was_used_last(
    mina: Person, since: time_machine.Traveller
) -> None:
    since.shift(NOTED)
    [session] = mina.call("GET", MINE).get_json()["items"]
    assert _seconds(session["created_at"], session["last_used_at"]) == NOTED


def test_a_use_on_one_device_is_none_on_another(
    app: Flask, mina: Person, since: time_machine.Traveller
) -> None:
    other = mina.sign_in()
    since.shift(NOTED)
    assert use(mina) == 200
    row = session_row(app, id_of(other))
    assert row.last_used_at == row.created_at


def test_a_use_that_is_refused_is_not_noted(app: Flask, mina: Person, since: time_machine.Traveller) -> None:
    before = session_row(app, id_of(mina.tokens)).last_used_at
    since.shift(1000)  # the access token has expired
    assert use(mina) == 401
    assert session_row(app, id_of(mina.tokens)).last_used_at == before


def test_a_use_keeps_a_session_from_resting(make_app: MakeApp, clock: time_machine.Traveller) -> None:
    person = new_person(make_app(SESSION_IDLE_SECONDS="100"))
    for _ in range(3):
        clock.shift(99)
        assert use(person) == 200
    clock.shift(99)
    assert person.refresh().status_code == 200


def test_a_session_that_is_not_used_ends_though_its_access_token_is_young(
    make_app: MakeApp, clock: time_machine.Traveller
) -> None:
    person = new_person(make_app(SESSION_IDLE_SECONDS="100"))
    clock.shift(99)
    assert use(person) == 200
    clock.shift(100)
    assert use(person) == 401


def test_a_use_moves_the_end_that_is_told(make_app: MakeApp, clock: time_machine.Traveller) -> None:
    person = new_person(make_app(SESSION_IDLE_SECONDS="100"))
    clock.shift(70)
    [session] = person.call("GET", MINE).get_json()["items"]
    assert _seconds(session["created_at"], session["expires_at"]) == 170


def test_parallel_uses_are_all_answered_while_one_notes(
    app: Flask, mina: Person, since: time_machine.Traveller
) -> None:
    since.shift(NOTED)
    answers = in_parallel(6, lambda _: client_of(app).get(ME, headers=mina.bearer).status_code)
    assert answers == [200] * 6


def _seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


# How many


def test_one_session_too_many_ends_the_oldest(make_app: MakeApp, clock: time_machine.Traveller) -> None:
    person = new_person(make_app(SESSIONS_PER_USER="3"))
    ids = [id_of(person.tokens)]
    for _ in range(4):
        clock.shift(1)
        person.tokens = person.sign_in()
        ids.append(id_of(person.tokens))
    assert listed(person) == ids[:-4:-1]


def test_of_sessions_of_one_instant_the_first_one_ends(
    make_app: MakeApp, clock: time_machine.Traveller
) -> None:
    person = new_person(make_app(SESSIONS_PER_USER="3"))
    ids = [id_of(person.tokens), *(id_of(person.sign_in()) for _ in range(2))]
    person.tokens = person.sign_in()
    assert listed(person) == [id_of(person.tokens), *ids[:0:-1]]


def test_the_session_that_had_to_give_way_says_why(make_app: MakeApp) -> None:
    app = make_app(SESSIONS_PER_USER="1")
    person = new_person(app)
    newest = on(person, person.sign_in())
    row = session_row(app, id_of(person.tokens))
    assert (row.ended_at is not None, row.ended_because) == (True, "evicted")
    assert (use(person), use(newest)) == (401, 200)
    assert person.refresh().get_json()["code"] == "session_ended"


def test_a_session_that_is_used_gives_way_like_any_other(
    make_app: MakeApp, clock: time_machine.Traveller
) -> None:
    person = new_person(make_app(SESSIONS_PER_USER="2"))
    person.sign_in()
    clock.shift(NOTED)
    assert use(person) == 200
    person.sign_in()
    assert use(person) == 401


def test_the_sessions_of_others_do_not_count(make_app: MakeApp) -> None:
    app = make_app(SESSIONS_PER_USER="1")
    one, other = new_person(app), new_person(app)
    other.tokens = other.sign_in()
    assert [use(one), use(other)] == [200, 200]


def test_sessions_that_have_ended_do_not_count(make_app: MakeApp) -> None:
    app = make_app(SESSIONS_PER_USER="2")
    person = new_person(app)
    ended = person.sign_in()
    person.call("DELETE", f"{MINE}/{id_of(ended)}")
    person.sign_in()
    assert use(person) == 200
    assert session_row(app, id_of(ended)).ended_because == "signed_out"


def test_sessions_that_have_expired_do_not_count(make_app: MakeApp, clock: time_machine.Traveller) -> None:
    app = make_app(SESSIONS_PER_USER="2", SESSION_IDLE_SECONDS="1000")
    person = new_person(app)
    clock.shift(500)
    kept = on(person, person.sign_in())
    clock.shift(600)
    kept.tokens = kept.refresh().get_json()
    kept.sign_in()
    assert use(kept) == 200
    assert session_row(app, id_of(person.tokens)).ended_at is None  # it rested, and nobody ended it


def test_who_signs_in_at_once_stays_within_the_number(make_app: MakeApp) -> None:
    app = make_app(SESSIONS_PER_USER="2")
    person = new_person(app)
    tokens = in_parallel(5, lambda _: on(Person(client_of(app), person.user), {}).sign_in())
    alive = [one for one in tokens if use(on(person, one)) == 200]
    assert len(alive) == 2
    assert use(person) == 401


# What is kept


def _is_kept(app: Flask, tokens: dict[str, Any]) -> bool:
    with app.app_context(), work.reading():
        return db.session.get(Session, UUID(id_of(tokens))) is not None


def test_a_session_is_forgotten_long_after_its_end(
    app: Flask, mina: Person, ken: Person, since: time_machine.Traveller
) -> None:
    mina.call("DELETE", CURRENT)
    since.shift(KEPT)
    do_chores(app)
    assert _is_kept(app, mina.tokens)
    since.shift(1)
    do_chores(app)
    assert not _is_kept(app, mina.tokens)
    assert _is_kept(app, ken.tokens)


def test_a_session_is_forgotten_long_after_its_absolute_end(
    make_app: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_app(SESSION_ABSOLUTE_SECONDS="600")
    person = new_person(app)
    clock.shift(600 + KEPT)
    do_chores(app)
    assert _is_kept(app, person.tokens)
    clock.shift(60)  # ids are made by the machine's own clock, which went on
    do_chores(app)
    assert not _is_kept(app, person.tokens)


def test_a_session_that_lives_is_not_forgotten_however_old(
    make_app: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_app()
    person = new_person(app)
    for _ in range(3):
        clock.shift(28 * DAY)
        person.tokens = person.refresh().get_json()
    do_chores(app)
    assert use(person) == 200


def test_many_are_forgotten_a_step_at_a_time(
    app: Flask, mina: Person, since: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "_FORGOTTEN", 2)
    signed_in = [mina.sign_in() for _ in range(5)]
    mina.call("DELETE", "/v1/users/me/sessions")
    since.shift(KEPT + 1)
    do_chores(app)
    assert not any(_is_kept(app, tokens) for tokens in signed_in)


# Signing out by a refresh token


def sign_out(person: Person, token: Any = None) -> TestResponse:
    body = {"refresh_token": token or person.tokens["refresh_token"]}
    return person.client.post("/v1/sessions/sign-out", json=body)


def test_a_refresh_token_signs_out(app: Flask, mina: Person) -> None:
    answer = sign_out(mina)
    assert (answer.status_code, answer.data) == (204, b"")
    assert (use(mina), mina.refresh().get_json()["code"]) == (401, "session_ended")
    assert session_row(app, id_of(mina.tokens)).ended_because == "signed_out"


def test_signing_out_by_a_refresh_token_again_is_as_good(app: Flask, mina: Person) -> None:
    assert [sign_out(mina).status_code for _ in range(3)] == [204] * 3


def test_of_parallel_sign_outs_by_a_refresh_token_all_are_told_that_it_is_done(
    app: Flask, mina: Person
) -> None:
    answers = in_parallel(5, lambda _: sign_out(Person(client_of(app), {}, mina.tokens)).status_code)
    assert answers == [204] * 5


def test_a_refresh_token_signs_out_when_the_access_token_has_expired(
    mina: Person, since: time_machine.Traveller
) -> None:
    since.shift(1000)
    assert use(mina) == 401
    assert sign_out(mina).status_code == 204
    assert mina.refresh().get_json()["code"] == "session_ended"


def test_a_refresh_token_of_an_expired_session_signs_out_too(
    mina: Person, since: time_machine.Traveller
) -> None:
    since.shift(89 * DAY)
    assert sign_out(mina).status_code == 204


def test_an_old_refresh_token_signs_out_and_raises_no_alarm(app: Flask, mina: Person) -> None:
    first = mina.tokens["refresh_token"]
    for _ in range(3):
        mina.tokens = mina.refresh().get_json()
    assert sign_out(mina, first).status_code == 204
    assert use(mina) == 401
    assert session_row(app, id_of(mina.tokens)).ended_because == "signed_out"


def test_signing_out_by_a_refresh_token_leaves_other_sessions_alone(mina: Person, ken: Person) -> None:
    other = on(mina, mina.sign_in())
    assert sign_out(mina).status_code == 204
    assert [use(other), use(ken)] == [200, 200]


def test_a_deleted_users_refresh_token_signs_out(mina: Person) -> None:
    mina.call("DELETE", ME)
    assert sign_out(mina).status_code == 204


def test_a_forged_refresh_token_signs_nobody_out(app: Flask, mina: Person) -> None:
    token = mina.tokens["refresh_token"]
    for forged in (f"{token[:-1]}{'A' if token[-1] != 'A' else 'E'}", f"tsr_{'A' * 70}", "x", token[:-1]):
        with statements(app) as seen:
            answer = sign_out(mina, forged)
        assert (answer.status_code, answer.get_json()["code"]) == (401, "invalid_refresh_token")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert seen == []
    assert use(mina) == 200


def test_a_token_to_sign_out_by_is_read_nowhere_but_in_the_body(mina: Person) -> None:
    token = mina.tokens["refresh_token"]
    headers = {"Authorization": f"Bearer {token}", "Cookie": f"refresh_token={token}"}
    answer = mina.client.post(f"/v1/sessions/sign-out?refresh_token={token}", json={}, headers=headers)
    assert answer.status_code == 422
    assert use(mina) == 200


def test_a_client_cannot_choose_the_id_of_its_session(mina: Person) -> None:
    chosen = id_of(mina.tokens)
    for name in ("id", "session_id", "sid", "session"):
        body = {"identifier": mina.user["username"], "password": PASSWORD, name: chosen}
        refused = mina.client.post("/v1/sessions", json=body)
        assert [error["pointer"] for error in refused.get_json()["errors"]] == [f"/{name}"]


def test_a_refresh_keeps_the_id_of_the_session_whatever_is_sent_along(mina: Person) -> None:
    headers = {"Cookie": "session=0199d2a4-8c2f-7a10-8e44-1b9d3f5a7c20", "X-Session-Id": "chosen"}
    body = {"identifier": mina.user["username"], "password": PASSWORD}
    made = mina.client.post("/v1/sessions", json=body, headers=headers).get_json()
    assert re.fullmatch(r"[0-9a-f-]{36}", id_of(made))
    assert id_of(made) not in (id_of(mina.tokens), "0199d2a4-8c2f-7a10-8e44-1b9d3f5a7c20")
