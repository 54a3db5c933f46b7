"""What ends a session against what goes on with it: afterwards no token that was ever given is live."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from flask import Flask

from tests.races.conftest import CAP
from tests.races.harness import (
    INVALID_TOKEN,
    PROCESSES,
    SESSION_ENDED,
    Member,
    Pair,
    Request,
    Tokens,
    all_given,
    given,
    jitter,
    new_member,
    refreshing,
    refusal,
    rotated,
    sid,
    using,
)
from tests.support.servers import Answer
from tests.support.watching import session_row, set_user

pytestmark = pytest.mark.long

ROUNDS = 4
INVALID_CREDENTIALS = (401, "invalid_credentials")
WRONG_PASSWORD = (403, "wrong_password")

Ending = Callable[[Tokens, int], Request]


def here(tokens: Tokens, at: int) -> Request:
    return Request(at, "DELETE", "/v1/sessions/current", token=tokens["access_token"], after=jitter())


def everywhere(tokens: Tokens, at: int) -> Request:
    path = f"/v1/users/{tokens['user']['id']}/sessions"
    return Request(at, "DELETE", path, token=tokens["access_token"], after=jitter())


def one_device(tokens: Tokens, at: int) -> Request:
    path = f"/v1/users/me/sessions/{sid(tokens)}"
    return Request(at, "DELETE", path, token=tokens["access_token"], after=jitter())


def by_refresh_token(tokens: Tokens, at: int) -> Request:
    body = {"refresh_token": tokens["refresh_token"]}
    return Request(at, "POST", "/v1/sessions/sign-out", body, after=jitter())


def deletion(tokens: Tokens, at: int) -> Request:
    return Request(at, "DELETE", "/v1/users/me", token=tokens["access_token"], after=jitter())


def password_change(tokens: Tokens, at: int, current: str, new: str) -> Request:
    body = {"current_password": current, "new_password": new}
    return Request(at, "PUT", "/v1/users/me/password", body, tokens["access_token"])


def refreshes(old: Tokens, new: Tokens, times: int = 5) -> list[Request]:
    """Return refreshes at both processes, all with the current token or all with the one before."""
    token = random.choice((old, new))["refresh_token"]
    return [refreshing(number % 2, token, jitter()) for number in range(times)]


def may_only_have_ended(answers: list[Answer]) -> None:
    """Fail unless each refresh was answered with tokens, or told that the session has ended."""
    for answer in answers:
        assert answer.status == 200 or refusal(answer) == SESSION_ENDED


@pytest.mark.parametrize("ending", [here, everywhere, one_device, by_refresh_token])
def test_no_token_outlives_a_sign_out(member: Member, ending: Ending) -> None:
    pair = member.pair
    for number in pair.rounds(ROUNDS):
        old = member.sign_in()
        new = rotated(pair, old)
        ended, *answers = pair.race([ending(new, number % 2), *refreshes(old, new)])
        assert ended.status == 204
        may_only_have_ended(answers)
        pair.refuses([old, new, *all_given(answers)])


def test_several_sign_outs_everywhere_at_once_end_every_session(member: Member) -> None:
    pair = member.pair
    for _ in pair.rounds(ROUNDS):
        sessions = member.sign_in_often(6)
        endings = [everywhere(tokens, number % 2) for number, tokens in enumerate(sessions[:4])]
        requests = [refreshing(number % 2, one["refresh_token"]) for number, one in enumerate(sessions)]
        answers = pair.race([*endings, *requests])
        for answer in answers[:4]:
            assert answer.status == 204 or refusal(answer) == INVALID_TOKEN
        may_only_have_ended(answers[4:])
        pair.refuses([*sessions, *all_given(answers[4:])])


def test_who_is_signed_out_at_one_process_is_refused_next_at_the_other(member: Member) -> None:
    pair = member.pair
    for number, tokens in enumerate(member.sign_in_often(10)):
        there, elsewhere = number % 2, 1 - number % 2
        assert pair.send(using(elsewhere, tokens)).status == 200
        assert (
            pair.send(Request(there, "DELETE", "/v1/sessions/current", token=tokens["access_token"])).status
            == 204
        )
        assert refusal(pair.send(using(elsewhere, tokens))) == INVALID_TOKEN
        assert refusal(pair.send(refreshing(elsewhere, tokens["refresh_token"]))) == SESSION_ENDED


def test_no_token_of_another_session_outlives_a_password_change(member: Member) -> None:
    pair, words = member.pair, [member.password, *(f"violet anchor {n} moth" for n in range(ROUNDS))]
    for number, (current, new_word) in zip(pair.rounds(ROUNDS), pairwise(words), strict=True):
        mine, old = member.sign_in(), member.sign_in()
        new = rotated(pair, old)
        change = password_change(mine, number % 2, current, new_word)
        changed, kept, *answers = pair.race(
            [change, refreshing(1, mine["refresh_token"], jitter()), *refreshes(old, new)]
        )
        member.password = new_word
        assert changed.status == 204
        may_only_have_ended(answers)
        pair.refuses([old, new, *all_given(answers)])
        pair.accepts([given(kept)])


def test_no_sign_in_with_the_old_password_outlives_its_change(member: Member) -> None:
    pair, words = member.pair, [member.password, *(f"violet anchor {n} moth" for n in range(ROUNDS))]
    for number, (current, new_word) in zip(pair.rounds(ROUNDS), pairwise(words), strict=True):
        mine = member.sign_in()
        attempts = [member.signing_in(at, after=jitter(0.08)) for at in (0, 1, 0, 1)]
        changed, *answers = pair.race([password_change(mine, number % 2, current, new_word), *attempts])
        member.password = new_word
        assert changed.status == 204
        for answer in answers:
            assert answer.status == 201 or refusal(answer) == INVALID_CREDENTIALS
        pair.refuses(all_given(answers))
        assert pair.send(using(0, mine)).status == 200


def test_of_two_password_changes_at_once_one_wins(member: Member) -> None:
    pair, current = member.pair, member.password
    for number in pair.rounds(ROUNDS):
        mine = member.sign_in()
        words = [f"violet anchor {number} {name}" for name in ("moth", "wasp")]
        answers = pair.race([password_change(mine, at, current, words[at]) for at in PROCESSES])
        winner = [answer.status for answer in answers].index(204)
        assert refusal(answers[1 - winner]) == WRONG_PASSWORD
        for at in PROCESSES:
            for refused in (current, words[1 - winner]):
                answer = pair.send(member.signing_in(at, password=refused))
                assert refusal(answer) == INVALID_CREDENTIALS
        member.password = current = words[winner]
        assert member.sign_in(at=winner)["user"]["id"] == member.id
        assert pair.send(using(1 - winner, mine)).status == 200


def test_of_two_sessions_that_change_the_password_at_once_one_lives(member: Member) -> None:
    pair, current = member.pair, member.password
    for number in pair.rounds(ROUNDS):
        sessions = member.sign_in_often(2)
        words = [f"violet anchor {number} {name}" for name in ("moth", "wasp")]
        answers = pair.race([password_change(sessions[at], at, current, words[at]) for at in PROCESSES])
        winner = [answer.status for answer in answers].index(204)
        assert refusal(answers[1 - winner]) in (WRONG_PASSWORD, INVALID_TOKEN)
        pair.refuses([sessions[1 - winner]])
        pair.accepts([sessions[winner]])
        member.password = current = words[winner]


def test_no_token_outlives_a_suspension(app: Flask, member: Member) -> None:
    pair = member.pair
    for _ in pair.rounds(ROUNDS):
        old = member.sign_in()
        new = rotated(pair, old)
        requests = [*refreshes(old, new), *(member.signing_in(at, after=jitter()) for at in PROCESSES)]
        answers = pair.race(requests, lambda: set_user(app, member.id, status="suspended"))
        may_only_have_ended(answers[:-2])
        for answer in answers[-2:]:
            assert answer.status == 201 or refusal(answer) == INVALID_CREDENTIALS
        pair.refuses([old, new, *all_given(answers)])
        set_user(app, member.id, status="active")


def test_no_token_outlives_a_deletion(pair: Pair) -> None:
    for number in pair.rounds(ROUNDS):
        member = new_member(pair)
        old = member.sign_in()
        new = rotated(pair, old)
        attempts = [member.signing_in(at, after=jitter()) for at in PROCESSES]
        deleted, *answers = pair.race([deletion(new, number % 2), *refreshes(old, new), *attempts])
        assert deleted.status == 204
        may_only_have_ended(answers[:-2])
        for answer in answers[-2:]:
            assert answer.status == 201 or refusal(answer) == INVALID_CREDENTIALS
        pair.refuses([old, new, *all_given(answers)])
        assert refusal(pair.send(member.signing_in(1))) == INVALID_CREDENTIALS


def test_parallel_sign_ins_never_leave_more_sessions_than_the_cap(app: Flask, strict_pair: Pair) -> None:
    for _ in strict_pair.rounds(ROUNDS // 2):
        member = new_member(strict_pair)
        sessions = member.sign_in_often(8)
        live = [one for one in sessions if session_row(app, sid(one)).ended_at is None]
        assert len(live) == CAP
        strict_pair.refuses([one for one in sessions if one not in live])
        for one in live:
            strict_pair.accepts([one])
