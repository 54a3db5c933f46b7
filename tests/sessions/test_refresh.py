"""Refreshing: one current token a session, whatever races, gets lost or is stolen."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from api.kit.secrets import derive
from tests.conftest import SECRET, MakeApp
from tests.support.clients import ContractClient, Person, client_of, new_person
from tests.support.watching import in_parallel, session_row, set_user, statements

REFRESH = "/v1/sessions/refresh"
OVERLAP = 30  # seconds
DAY = 86400
NEW_SECRET = "b7d1f3a5c9e8d2b4f6a08c1e3d5b7f9a"
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def clock(mina: Person) -> Iterator[time_machine.Traveller]:
    """A clock that stands at mina's sign-in and moves by hand."""
    with time_machine.travel(mina.tokens["session"]["created_at"], tick=False) as traveller:
        yield traveller


def refresh(client: ContractClient, token: Any) -> TestResponse:
    return client.post(REFRESH, json={"refresh_token": token})


def refusal(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


def rotate(person: Person) -> str:
    """Exchange a person's refresh token, keep what came, and return the token of before."""
    old: str = person.tokens["refresh_token"]
    answer = person.refresh()
    assert answer.status_code == 200, answer.text
    person.tokens = answer.get_json()
    return old


def use(person: Person) -> int:
    """Use the access token; by that the newest generation is confirmed."""
    return person.call("GET", "/v1/users/me").status_code


def session_of(person: Person) -> str:
    return str(person.tokens["session"]["id"])


def test_a_refresh_gives_new_tokens_of_the_same_session(mina: Person) -> None:
    answer = mina.refresh()
    content = answer.get_json()
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert content.keys() == mina.tokens.keys()
    assert content["session"]["id"] == session_of(mina)
    assert content["refresh_token"] != mina.tokens["refresh_token"]
    assert content["access_token"] != mina.tokens["access_token"]
    assert content["user"]["id"] == mina.id


def test_tokens_work_on_and_on(mina: Person) -> None:
    for _ in range(5):
        rotate(mina)
        assert use(mina) == 200


def test_no_signed_in_caller_is_needed(mina: Person, clock: time_machine.Traveller) -> None:
    clock.shift(3600)
    assert use(mina) == 401
    rotate(mina)
    assert use(mina) == 200


def test_the_access_token_of_before_lives_on(mina: Person) -> None:
    old = mina.bearer
    rotate(mina)
    assert mina.client.get("/v1/users/me", headers=old).status_code == 200


def test_an_exchanged_token_gives_its_successor_again(mina: Person) -> None:
    old = rotate(mina)
    assert refresh(mina.client, old).get_json()["refresh_token"] == mina.tokens["refresh_token"]


def test_an_exchanged_token_gives_its_successor_to_the_end_of_the_overlap(
    mina: Person, clock: time_machine.Traveller
) -> None:
    old = rotate(mina)
    assert use(mina) == 200
    clock.shift(OVERLAP)
    assert refresh(mina.client, old).get_json()["refresh_token"] == mina.tokens["refresh_token"]


def test_the_overlap_does_not_begin_again(mina: Person, clock: time_machine.Traveller) -> None:
    old = rotate(mina)
    assert use(mina) == 200
    clock.shift(OVERLAP - 1)
    assert refresh(mina.client, old).status_code == 200
    clock.shift(2)
    assert refusal(refresh(mina.client, old)) == (401, "refresh_token_reused")


def test_after_the_overlap_an_exchanged_token_is_refused(mina: Person, clock: time_machine.Traveller) -> None:
    old = rotate(mina)
    assert use(mina) == 200
    clock.shift(OVERLAP + 1)
    refused = refresh(mina.client, old)
    assert refusal(refused) == (401, "refresh_token_reused")
    assert refused.headers["WWW-Authenticate"] == "Bearer"


def test_a_token_that_is_reused_ends_its_session(
    app: Flask, mina: Person, clock: time_machine.Traveller
) -> None:
    old = rotate(mina)
    assert use(mina) == 200
    clock.shift(OVERLAP + 1)
    refresh(mina.client, old)
    assert session_row(app, session_of(mina)).ended_because == "refresh_token_reused"
    assert refusal(mina.call("GET", "/v1/users/me")) == (401, "invalid_token")
    assert refusal(mina.refresh()) == (401, "session_ended")


def test_a_token_that_is_reused_ends_no_other_session(mina: Person, clock: time_machine.Traveller) -> None:
    other = mina.sign_in()
    old = rotate(mina)
    assert use(mina) == 200
    clock.shift(OVERLAP + 1)
    refresh(mina.client, old)
    assert refresh(mina.client, other["refresh_token"]).status_code == 200


def test_a_token_of_two_generations_ago_is_reused_even_within_the_overlap(mina: Person) -> None:
    first = rotate(mina)
    rotate(mina)
    assert refusal(refresh(mina.client, first)) == (401, "refresh_token_reused")
    assert use(mina) == 401


def test_a_reuse_is_told_once_and_then_the_session_has_ended(mina: Person) -> None:
    first = rotate(mina)
    rotate(mina)
    answers = [refusal(refresh(mina.client, first)) for _ in range(2)]
    assert answers == [(401, "refresh_token_reused"), (401, "session_ended")]


def test_without_an_overlap_every_exchanged_token_is_reused(make_app: MakeApp, mina: Person) -> None:
    client = client_of(make_app(REFRESH_OVERLAP_SECONDS="0"))
    with time_machine.travel(mina.tokens["session"]["created_at"], tick=False) as clock:
        old = rotate(mina)
        assert use(mina) == 200
        clock.shift(1)
        assert refusal(refresh(client, old)) == (401, "refresh_token_reused")


def test_a_session_that_was_signed_out_has_ended(mina: Person) -> None:
    mina.call("DELETE", "/v1/sessions/current")
    refused = mina.refresh()
    assert refusal(refused) == (401, "session_ended")
    assert refused.headers["WWW-Authenticate"] == "Bearer"


def test_an_old_token_of_a_session_that_was_signed_out_raises_no_alarm(app: Flask, mina: Person) -> None:
    first = rotate(mina)
    rotate(mina)
    mina.call("DELETE", "/v1/sessions/current")
    assert refusal(refresh(mina.client, first)) == (401, "session_ended")
    assert session_row(app, session_of(mina)).ended_because == "signed_out"


def test_a_session_that_rests_too_long_has_ended(mina: Person, clock: time_machine.Traveller) -> None:
    clock.shift(30 * DAY)
    assert refusal(mina.refresh()) == (401, "session_ended")


def test_a_session_that_rests_almost_too_long_lives_on(mina: Person, clock: time_machine.Traveller) -> None:
    clock.shift(30 * DAY - 1)
    assert mina.refresh().status_code == 200


def test_a_refresh_keeps_a_session_from_resting(mina: Person, clock: time_machine.Traveller) -> None:
    for _ in range(2):
        clock.shift(29 * DAY)
        rotate(mina)


def test_no_refresh_extends_a_session_beyond_its_absolute_end(
    mina: Person, clock: time_machine.Traveller
) -> None:
    for _ in range(4):
        clock.shift(22 * DAY)
        rotate(mina)
    clock.shift(2 * DAY - 1)
    rotate(mina)
    assert use(mina) == 200
    clock.shift(1)
    assert refusal(mina.refresh()) == (401, "session_ended")
    assert use(mina) == 401


def test_expires_at_tells_when_the_session_ends(mina: Person, clock: time_machine.Traveller) -> None:
    ends = [mina.tokens["session"]["expires_at"]]
    for _ in range(4):
        clock.shift(22 * DAY)
        rotate(mina)
        ends.append(mina.tokens["session"]["expires_at"])
    begin = mina.tokens["session"]["created_at"]
    days = [(_seconds(end) - _seconds(begin)) / DAY for end in ends]
    assert days == [30, 52, 74, 90, 90]


def _seconds(instant: str) -> int:
    return round(datetime.fromisoformat(instant).timestamp())


def test_a_refresh_does_not_renew_the_sign_in(mina: Person, clock: time_machine.Traveller) -> None:
    clock.shift(DAY)
    rotate(mina)
    listed = mina.call("GET", "/v1/users/me/sessions").get_json()["items"][0]
    assert _seconds(listed["last_used_at"]) - _seconds(listed["created_at"]) == DAY


def test_a_deleted_user_refreshes_nothing(mina: Person) -> None:
    mina.call("DELETE", "/v1/users/me")
    assert refusal(mina.refresh()) == (401, "session_ended")


def test_a_suspended_user_refreshes_nothing(app: Flask, mina: Person) -> None:
    set_user(app, mina.id, status="suspended")
    assert refusal(mina.refresh()) == (401, "session_ended")


def test_a_suspended_users_exchanged_token_raises_no_alarm(app: Flask, mina: Person) -> None:
    first = rotate(mina)
    rotate(mina)
    set_user(app, mina.id, status="suspended")
    assert refusal(refresh(mina.client, first)) == (401, "session_ended")


def _forged(token: str) -> Iterator[str]:
    content = bytearray(urlsafe_b64decode(token.removeprefix("tsr_") + "=="))
    for place in range(len(content)):
        changed = content.copy()
        changed[place] ^= 1
        yield _written(bytes(changed))
    later = content.copy()
    later[19] += 1
    yield _written(bytes(later))
    for secret, purpose in ((NEW_SECRET, "refresh-token"), (SECRET, "cursor"), (SECRET, "access-token")):
        yield _written(bytes(content[:20]) + _tag(derive(secret, purpose), bytes(content[:20])))
    yield _written(bytes(content[:20]) + bytes(32))


def _malformed(token: str) -> Iterator[str]:
    yield from (token[:-1], token[1:], f"{token}A", f"{token}=", f"{token}\n", f" {token}", token.upper())
    yield from (
        token.replace("tsr_", "tsk_"),
        token.replace("tsr_", ""),
        f"tsr_{'A' * 70}",
        "tsr_",
        "x",
        "\u00e9",
    )
    yield from (f"tsr_{'+' * 70}", "tsr_" + "\u00e9" * 70, "' OR 1=1 --", "null", "a.b.c", "x" * 1024)


def _written(content: bytes) -> str:
    return f"tsr_{urlsafe_b64encode(content).decode().rstrip('=')}"


def _tag(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")


def test_what_is_not_authentic_is_refused_without_a_query(app: Flask, mina: Person) -> None:
    token = mina.tokens["refresh_token"]
    with statements(app) as seen:
        for foreign in (*_forged(token), *_malformed(token), mina.tokens["access_token"]):
            refused = refresh(mina.client, foreign)
            assert refusal(refused) == (401, "invalid_refresh_token"), foreign
            assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert seen == []
    assert mina.refresh().status_code == 200


def test_no_character_of_a_token_can_be_changed(mina: Person) -> None:
    token = mina.tokens["refresh_token"]
    for place in range(4, len(token)):
        other = BASE64URL[(BASE64URL.find(token[place]) + 1) % 64]
        forged = f"{token[:place]}{other}{token[place + 1 :]}"
        assert refusal(refresh(mina.client, forged)) == (401, "invalid_refresh_token"), place


@pytest.mark.parametrize("value", ["", None, 7, True, [], {}, "\x00", "x" * 1025], ids=lambda v: ascii(v)[:9])
def test_what_can_be_no_token_is_refused_by_its_form(client: ContractClient, value: Any) -> None:
    answer = refresh(client, value)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.get_json()["errors"]] == ["/refresh_token"]


def test_an_authentic_token_of_no_session_has_ended(client: ContractClient) -> None:
    name = UUID(str(uuid4())).bytes + bytes(4)
    token = _written(name + _tag(derive(SECRET, "refresh-token"), name))
    assert refusal(refresh(client, token)) == (401, "session_ended")


def test_a_refresh_token_is_no_access_token(mina: Person) -> None:
    mina.tokens["access_token"] = mina.tokens["refresh_token"]
    assert refusal(mina.call("GET", "/v1/users/me")) == (401, "invalid_token")


def test_a_token_is_read_nowhere_but_in_the_body(mina: Person) -> None:
    token = mina.tokens["refresh_token"]
    headers = {"Authorization": f"Bearer {token}", "Cookie": f"refresh_token={token}"}
    answer = mina.client.post(f"{REFRESH}?refresh_token={token}", json={}, headers=headers)
    assert answer.status_code == 422


def test_a_token_of_the_secret_before_is_still_read(make_isolated: MakeApp) -> None:
    mina = new_person(make_isolated())
    rotated = client_of(make_isolated(SECRET_KEY=f"{NEW_SECRET},{SECRET}"))
    answer = refresh(rotated, mina.tokens["refresh_token"])
    assert answer.status_code == 200
    assert refresh(rotated, answer.get_json()["refresh_token"]).status_code == 200


def test_new_tokens_are_of_the_newest_secret(make_isolated: MakeApp) -> None:
    mina = new_person(make_isolated())
    rotated = client_of(make_isolated(SECRET_KEY=f"{NEW_SECRET},{SECRET}"))
    token = refresh(rotated, mina.tokens["refresh_token"]).get_json()["refresh_token"]
    assert refresh(client_of(make_isolated(SECRET_KEY=NEW_SECRET)), token).status_code == 200


def test_a_token_of_a_secret_that_is_gone_is_refused(make_isolated: MakeApp) -> None:
    mina = new_person(make_isolated())
    answer = refresh(client_of(make_isolated(SECRET_KEY=NEW_SECRET)), mina.tokens["refresh_token"])
    assert refusal(answer) == (401, "invalid_refresh_token")


def test_parallel_refreshes_of_one_token_all_get_the_same_new_one(app: Flask, mina: Person) -> None:
    answers = in_parallel(20, lambda _: refresh(client_of(app), mina.tokens["refresh_token"]))
    assert {answer.status_code for answer in answers} == {200}
    [token] = {answer.get_json()["refresh_token"] for answer in answers}
    assert session_row(app, session_of(mina)).generation == 1
    assert refresh(mina.client, token).status_code == 200


def test_every_access_token_of_parallel_refreshes_is_good(app: Flask, mina: Person) -> None:
    answers = in_parallel(4, lambda _: refresh(client_of(app), mina.tokens["refresh_token"]).get_json())
    for answer in answers:
        mina.tokens = answer
        assert use(mina) == 200


def test_of_refreshes_and_a_sign_out_at_once_no_token_outlives_the_sign_out(app: Flask, mina: Person) -> None:
    def act(number: int) -> TestResponse:
        if number == 0:
            return client_of(app).delete("/v1/sessions/current", headers=mina.bearer)
        return refresh(client_of(app), mina.tokens["refresh_token"])

    answers = in_parallel(6, act)
    assert answers[0].status_code == 204
    for answer in answers[1:]:
        assert answer.status_code == 200 or refusal(answer) == (401, "session_ended")
        if answer.status_code == 200:
            mina.tokens = answer.get_json()
            assert use(mina) == 401
            assert refusal(mina.refresh()) == (401, "session_ended")


def test_of_refreshes_and_a_deletion_at_once_no_token_outlives_the_deletion(app: Flask, mina: Person) -> None:
    def act(number: int) -> TestResponse:
        if number == 0:
            return client_of(app).delete("/v1/users/me", headers=mina.bearer)
        return refresh(client_of(app), mina.tokens["refresh_token"])

    answers = in_parallel(6, act)
    assert answers[0].status_code == 204
    for answer in answers[1:]:
        assert answer.status_code == 200 or refusal(answer) == (401, "session_ended")
        if answer.status_code == 200:
            mina.tokens = answer.get_json()
            assert use(mina) == 401


def test_no_token_is_kept_in_the_database(app: Flask, mina: Person) -> None:
    rotate(mina)
    row = session_row(app, session_of(mina))
    kept = " ".join(str(getattr(row, column.key)) for column in row.__table__.columns)
    assert mina.tokens["refresh_token"] not in kept
    assert mina.tokens["refresh_token"][-43:] not in kept
    assert mina.tokens["access_token"] not in kept
