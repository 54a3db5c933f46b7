"""Each row of the contract's table of refreshing, between two processes that know of each other nothing."""

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from tests.races.conftest import Exchanged
from tests.races.harness import (
    ME,
    REUSED,
    SESSION_ENDED,
    Pair,
    Request,
    Tokens,
    given,
    new_member,
    refreshing,
    refusal,
    rotated,
    set_session,
    sid,
    using,
)
from tests.support.watching import session_row, set_user

pytestmark = pytest.mark.long


@pytest.fixture
def old(strict_pair: Pair) -> Tokens:
    """The tokens of somebody who has just signed in where the overlap is short."""
    return new_member(strict_pair).sign_in()


def generation(app: Flask, tokens: Tokens) -> int:
    return session_row(app, sid(tokens)).generation


def confirm_by_use(pair: Pair, new: Tokens) -> Tokens:
    assert pair.send(using(1, new)).status == 200
    return new


def confirm_by_refresh(pair: Pair, new: Tokens) -> Tokens:
    return rotated(pair, new, at=1)


def test_the_current_token_rotates(app: Flask, strict_pair: Pair, old: Tokens) -> None:
    new = rotated(strict_pair, old, at=1)
    assert generation(app, old) == 1
    assert new["refresh_token"] != old["refresh_token"]
    assert rotated(strict_pair, new)["refresh_token"] != new["refresh_token"]


def test_a_lost_answer_is_given_again_however_late(
    app: Flask, strict_pair: Pair, exchanged: Exchanged
) -> None:
    old, lost = exchanged.lost.pop()
    again = rotated(strict_pair, old, at=1)
    assert again["refresh_token"] == lost["refresh_token"]
    assert generation(app, old) == 1
    strict_pair.accepts([again])


def test_within_the_overlap_the_token_before_gives_the_current_pair(app: Flask, pair: Pair) -> None:
    old = new_member(pair).sign_in()
    new = confirm_by_use(pair, rotated(pair, old))
    again = rotated(pair, old, at=1)
    assert again["refresh_token"] == new["refresh_token"]
    assert generation(app, old) == 1
    pair.accepts([again])


def test_after_the_overlap_the_token_before_ends_the_session(
    app: Flask, strict_pair: Pair, exchanged: Exchanged
) -> None:
    old, new = exchanged.used.pop()
    assert refusal(strict_pair.send(refreshing(0, old["refresh_token"]))) == REUSED
    assert session_row(app, sid(old)).ended_because == "refresh_token_reused"
    strict_pair.refuses([old, new])


def test_a_token_used_after_its_answer_was_lost_ends_the_one_before(
    strict_pair: Pair, exchanged: Exchanged
) -> None:
    old, lost = exchanged.lost.pop()
    confirm_by_refresh(strict_pair, lost)
    assert refusal(strict_pair.send(refreshing(0, old["refresh_token"]))) == REUSED


def test_an_older_token_ends_the_session_whenever_it_comes(app: Flask, pair: Pair) -> None:
    old = new_member(pair).sign_in()
    new = confirm_by_refresh(pair, rotated(pair, old))
    assert refusal(pair.send(refreshing(0, old["refresh_token"]))) == REUSED
    pair.refuses([old, new])


@pytest.mark.parametrize("shown", ["old", "current"])
def test_a_session_that_was_signed_out_has_ended(pair: Pair, shown: str) -> None:
    old = new_member(pair).sign_in()
    new = rotated(pair, rotated(pair, old))
    pair.end(new)
    token = {"old": old, "current": new}[shown]["refresh_token"]
    assert refusal(pair.send(refreshing(1, token))) == SESSION_ENDED


def test_a_session_that_expired_has_ended(app: Flask, pair: Pair) -> None:
    old = new_member(pair).sign_in()
    set_session(app, sid(old), expires_at=datetime.now(UTC) - timedelta(seconds=1))
    pair.refuses([old, old])
    assert session_row(app, sid(old)).ended_because is None


def test_a_suspended_users_session_has_ended(app: Flask, pair: Pair) -> None:
    old = new_member(pair).sign_in()
    new = rotated(pair, rotated(pair, old))
    set_user(app, old["user"]["id"], status="suspended")
    pair.refuses([old, new])
    assert session_row(app, sid(old)).ended_because is None


def test_what_is_not_authentic_is_refused_and_ends_nothing(app: Flask, pair: Pair) -> None:
    old = new_member(pair).sign_in()
    token = old["refresh_token"]
    forged = f"{token[:-1]}{'A' if token[-1] != 'A' else 'E'}"
    for at in (0, 1):
        assert refusal(pair.send(refreshing(at, forged))) == (401, "invalid_refresh_token")
    assert pair.send(Request(0, "GET", ME, token=old["access_token"])).status == 200
    assert given(pair.send(refreshing(1, token)))["session"]["id"] == sid(old)
