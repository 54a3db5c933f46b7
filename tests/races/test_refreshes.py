"""Refreshing at once: one rotation, one new token; an old token outside the overlap ends it all."""

from collections import Counter
from collections.abc import Iterable

import pytest
from flask import Flask

from tests.races.conftest import Exchanged
from tests.races.harness import (
    REUSED,
    SESSION_ENDED,
    Member,
    Pair,
    all_given,
    given,
    jitter,
    refreshing,
    refusal,
    rotated,
    sid,
    using,
)
from tests.support.servers import Answer
from tests.support.watching import session_row

pytestmark = pytest.mark.long

REFRESHES = 20
ROUNDS = 50
FEW_ROUNDS = 4


def at_once(pair: Pair, refresh_token: str, times: int = REFRESHES) -> list[Answer]:
    """Refresh at both processes with one token."""
    return pair.race([refreshing(number % 2, refresh_token) for number in range(times)])


def chain(app: Flask, member: Member, rounds: Iterable[int]) -> None:
    """Refresh 20 times at once, round after round with the token of the round before."""
    tokens = member.sign_in()
    for number in rounds:
        answers = [given(answer) for answer in at_once(member.pair, tokens["refresh_token"])]
        assert len({answer["refresh_token"] for answer in answers}) == 1
        assert answers[0]["refresh_token"] != tokens["refresh_token"]
        assert session_row(app, sid(tokens)).generation == number + 1
        tokens = answers[0]
    member.pair.accepts(answers)


def test_parallel_refreshes_all_give_one_new_token_by_one_rotation(app: Flask, member: Member) -> None:
    chain(app, member, range(ROUNDS))


def test_parallel_refreshes_give_one_new_token_in_a_wide_window(app: Flask, member: Member) -> None:
    chain(app, member, member.pair.rounds(FEW_ROUNDS))


def test_the_token_before_gives_its_successor_while_that_is_used(member: Member) -> None:
    pair, old = member.pair, member.sign_in()
    new = rotated(pair, old)
    for _ in pair.rounds(FEW_ROUNDS):
        requests = [refreshing(n % 2, old["refresh_token"], jitter()) for n in range(6)]
        requests += [using(n % 2, new) for n in range(4)]
        answers = pair.race(requests)
        assert {answer.status for answer in answers} == {200}
        assert {one["refresh_token"] for one in all_given(answers[:6])} == {new["refresh_token"]}


def test_two_generations_at_once_end_in_one_live_token_or_in_none(member: Member) -> None:
    pair = member.pair
    for _ in pair.rounds(FEW_ROUNDS):
        old = member.sign_in()
        new = rotated(pair, old)
        requests = [refreshing(n % 2, old["refresh_token"], jitter()) for n in range(3)]
        requests += [refreshing(n % 2, new["refresh_token"], jitter()) for n in range(3)]
        answers = pair.race(requests)
        if all(answer.status == 200 for answer in answers):
            assert {one["refresh_token"] for one in all_given(answers[:3])} == {new["refresh_token"]}
            pair.accepts(all_given(answers[3:]))
        else:
            assert refusals(answers)[REUSED] == 1
            pair.refuses([old, new, *all_given(answers)])


def test_of_parallel_reuses_one_is_the_alarm_and_nothing_is_live_afterwards(
    app: Flask, strict_pair: Pair, exchanged: Exchanged
) -> None:
    for _ in strict_pair.rounds(FEW_ROUNDS):
        old, new = exchanged.used.pop()
        answers = at_once(strict_pair, old["refresh_token"], 8)
        assert refusals(answers) == {REUSED: 1, SESSION_ENDED: 7}
        strict_pair.refuses([old, new])
        assert session_row(app, sid(old)).ended_because == "refresh_token_reused"


def test_no_refresh_outlives_a_reuse_at_the_same_time(strict_pair: Pair, exchanged: Exchanged) -> None:
    for _ in strict_pair.rounds(FEW_ROUNDS):
        old, new = exchanged.used.pop()
        requests = [refreshing(n % 2, old["refresh_token"], jitter()) for n in range(3)]
        requests += [refreshing(n % 2, new["refresh_token"], jitter()) for n in range(5)]
        answers = strict_pair.race(requests)
        assert refusals(answers[:3]) == {REUSED: 1, SESSION_ENDED: 2}
        assert refusals(answers[3:]).keys() <= {SESSION_ENDED}
        strict_pair.refuses([old, new, *all_given(answers)])


def refusals(answers: list[Answer]) -> Counter[tuple[int, str]]:
    """Return how often which refusal came."""
    return Counter(refusal(answer) for answer in answers if answer.status != 200)
