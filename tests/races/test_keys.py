"""Signing keys that change under load: nobody is refused, and a key that leaked is dead everywhere."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from threading import Event
from typing import Any

import jwt
import pytest

from api.sessions.commands import retire
from tests.races.harness import (
    INVALID_TOKEN,
    PROCESSES,
    Member,
    Pair,
    Request,
    Tokens,
    given,
    new_member,
    outcome,
    refreshing,
    rotated,
    together,
    using,
)
from tests.support.servers import Answer, run
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long

KEY_SET = "/.well-known/jwks.json"
USERS = 3  # threads at a time


class OutsideVerifier:
    """Another service, which keeps the key set for as long as it may."""

    def __init__(self, send: Callable[[Request], Answer], url: str, keeps: float) -> None:
        self._send = send
        self._url = url
        self._keeps = keeps
        self._servers = cycle(PROCESSES)
        self._kept: dict[str, Any] = {}
        self._kept_at = float("-inf")

    def verify(self, access_token: str) -> str:
        """Return the id of the key that signed a token; raises whatever PyJWT does for a bad one."""
        if time.monotonic() - self._kept_at >= self._keeps:
            self._kept_at = time.monotonic()
            self._kept = key_set(self._send(Request(next(self._servers), "GET", KEY_SET)))
        kid: str = jwt.get_unverified_header(access_token)["kid"]
        jwt.decode(access_token, self._kept[kid], ["ES256"], audience=self._url, issuer=self._url)
        return kid


@dataclass
class Load:
    """Users of both servers who refresh, use what they get, and verify it from outside, all the time."""

    pair: Pair
    url: str
    keeps: float
    done: Event = field(default_factory=Event)
    signed: dict[str, set[tuple[str, int]]] = field(default_factory=dict)  # by key: what was done where
    requests: int = 0

    def go_on(self, tokens: Tokens) -> list[Tokens]:
        """Be a user until all is done, and return every pair of tokens."""
        try:
            return self._go_on([tokens])
        finally:
            self.done.set()

    def _go_on(self, kept: list[Tokens]) -> list[Tokens]:
        with self.pair.connections() as send:
            verifier = OutsideVerifier(send, self.url, self.keeps)
            for at in cycle(PROCESSES):
                kept.append(given(send(refreshing(at, kept[-1]["refresh_token"]))))
                self._use(send, verifier, at, kept[-1])
                self._expect(send(using(at, kept[0])))
                if self.done.is_set():
                    return kept
        raise AssertionError

    def _use(
        self, send: Callable[[Request], Answer], verifier: OutsideVerifier, at: int, new: Tokens
    ) -> None:
        seen = self.signed.setdefault(verifier.verify(new["access_token"]), set())
        seen.add(("issued", at))
        for there in (1 - at, at):
            self._expect(send(using(there, new)))
            seen.add(("used", there))

    def _expect(self, answer: Answer) -> None:
        assert answer.status == 200, answer.body
        self.requests += 1

    def is_whole(self, kid: str) -> bool:
        """Tell whether both servers have signed with a key, and both have verified it."""
        return self.signed.get(kid, set()) == {(what, at) for what in ("issued", "used") for at in PROCESSES}


def key_set(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200
    return {key["kid"]: jwt.PyJWK(key) for key in answer.json["keys"]}


def command(environ: dict[str, str], *arguments: str) -> list[str]:
    """Run `tessera key ...`, and return the lines that list the keys, the newest first."""
    ended = run(["key", *arguments], environ)
    assert ended.returncode == 0, ended.stderr
    return [line for line in ended.stdout.splitlines() if " from " in line]


def rotate_twice(load: Load, environ: dict[str, str]) -> None:
    """Make two keys, and wait until the load has met the newest at both servers."""
    try:
        command(environ, "rotate")
        newest = command(environ, "rotate")[0].split()[0]
        wait_until(lambda: load.is_whole(newest) or load.done.is_set(), "the newest key signs")
    finally:
        load.done.set()


def kid_of(tokens: Tokens) -> str:
    kid: str = jwt.get_unverified_header(tokens["access_token"])["kid"]
    return kid


def by_key(given_tokens: Sequence[Tokens]) -> dict[str, Tokens]:
    """Return one pair of tokens of each key that signed, the oldest key first."""
    found: dict[str, Tokens] = {}
    for tokens in given_tokens:
        found.setdefault(kid_of(tokens), tokens)
    return found


def test_keys_rotate_under_load_and_nobody_is_refused(pair: Pair, race_environ: dict[str, str]) -> None:
    keeps = float(race_environ["TESSERA_KEY_SET_SECONDS"])
    load = Load(pair, race_environ["TESSERA_PUBLIC_URL"], keeps)
    users = [new_member(pair).sign_in() for _ in range(USERS)]
    calls: list[Callable[[], Any]] = [partial(load.go_on, tokens) for tokens in users]
    *kept, _ = together([*calls, partial(rotate_twice, load, race_environ)])
    signed = by_key([tokens for one in kept for tokens in one])
    print(f"{load.requests} uses of access tokens, by {len(signed)} keys")
    assert len(signed) == 3
    for at in PROCESSES:
        assert key_set(pair.send(Request(at, "GET", KEY_SET))).keys() >= signed.keys()
        assert {pair.send(using(at, tokens)).status for tokens in signed.values()} == {200}


def is_refused(pair: Pair, at: int, tokens: Tokens) -> bool:
    return outcome(pair.send(using(at, tokens))) == INVALID_TOKEN


def test_a_retired_key_is_dead_at_both_servers_and_a_refresh_helps(
    member: Member, race_environ: dict[str, str]
) -> None:
    pair, old = member.pair, member.sign_in()
    assert {pair.send(using(at, old)).status for at in PROCESSES} == {200}
    command(race_environ, "retire", "--", kid_of(old))
    for at in PROCESSES:
        wait_until(partial(is_refused, pair, at, old), "the server has read the keys again")
        assert kid_of(old) not in key_set(pair.send(Request(at, "GET", KEY_SET)))
    new = rotated(pair, old)
    assert kid_of(new) != kid_of(old)
    pair.accepts([new])


def test_a_key_whose_id_begins_with_a_dash_can_be_retired() -> None:
    kid = "-oSNODfBe7uE7CBA1C5j2_Fx28l5FuoFxUtMxVzXfNQ"  # as that of one key in 64 does
    assert retire.make_context("retire", [kid]).params == {"kid": kid}
