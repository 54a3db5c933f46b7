"""The feed of revocations while sessions end at both processes: nobody who follows it misses one."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import cycle
from threading import Event

import pytest
from flask import Flask

from tests.races.harness import PROCESSES, Member, Pair, Request, Tokens, jitter, new_member, sid, together
from tests.support.clients import new_person
from tests.support.servers import Answer

pytestmark = pytest.mark.long

SESSIONS = 20
PAGE = 5
PEOPLE = 2
DEVICES = 3
FOLLOWERS = 2


class Follower:
    """A service that asks again and again what ended, each time at the other process."""

    def __init__(self, pair: Pair, token: str, done: Event) -> None:
        self.seen: list[tuple[str | None, str]] = []
        self._pair = pair
        self._done = done
        self._token = token
        self._servers = cycle(PROCESSES)
        self.asked = [self._newest()]

    def follow(self) -> None:
        """Follow until all is done, and then to the end."""
        with self._pair.connections() as send:
            while not self._done.is_set():
                self._ask(send)
            while self._ask(send):
                pass

    def _newest(self) -> int:
        """Return the number of what ended last before now."""
        since, more = 0, True
        while more:
            request = Request(0, "GET", f"/v1/revocations?since={since}&limit=200", token=self._token)
            page = self._pair.send(request).json
            since, more = page["next_since"], page["more"]
        return since

    def _ask(self, send: Callable[[Request], Answer]) -> bool:
        """Ask for the next page, and return whether there was something on it."""
        path = f"/v1/revocations?since={self.asked[-1]}&limit={PAGE}"
        answer = send(Request(next(self._servers), "GET", path, token=self._token))
        assert answer.status == 200, answer.body
        items = answer.json["items"]
        self.seen += [(item["session_id"], item["user_id"]) for item in items]
        if items:
            self.asked.append(answer.json["next_since"])
        return bool(items)


def ending(path: str, tokens: Tokens, number: int) -> Request:
    return Request(number % 2, "DELETE", path, token=tokens["access_token"], after=jitter(0.2))


def many_endings(sessions: list[Tokens], people: list[list[Tokens]]) -> list[Request]:
    """Return what ends every session, of some people by one request for all of theirs."""
    ends = [ending("/v1/sessions/current", tokens, number) for number, tokens in enumerate(sessions)]
    ways = ("/v1/users/me/sessions", "/v1/users/me")
    return ends + [ending(ways[n % 2], devices[0], n // 2) for n, devices in enumerate(people)]


def test_who_follows_the_feed_sees_every_ended_session_once(app: Flask, member: Member) -> None:
    pair = member.pair
    sessions = member.sign_in_often(SESSIONS)
    people = [new_member(pair).sign_in_often(DEVICES) for _ in range(PEOPLE)]
    token = new_person(app, admin=True).tokens["access_token"]
    done = Event()
    followers = [Follower(pair, token, done) for _ in range(FOLLOWERS)]
    for _ in pair.rounds(1, times_wider=5, after="INSERT INTO revocations"):
        end = partial(end_all, pair, many_endings(sessions, people), done)
        together([end, *(follower.follow for follower in followers)])
    deleted = {(None, devices[0]["user"]["id"]) for devices in people[1::2]}
    ended = [*sessions, *(tokens for devices in people for tokens in devices)]
    expected = {(sid(tokens), tokens["user"]["id"]) for tokens in ended} | deleted
    for follower in followers:
        assert Counter(follower.seen) == Counter(expected)
        assert follower.asked == sorted(set(follower.asked))


def end_all(pair: Pair, endings: list[Request], done: Event) -> None:
    """End everything at once, and tell the followers when all is done."""
    try:
        assert {answer.status for answer in pair.race(endings)} == {204}
    finally:
        done.set()
