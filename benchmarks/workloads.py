"""The work that every system is asked to do, as what the connections of the load client say."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle

from benchmarks.client import Dialogue, Judged, Repeat, Reply, http_request
from benchmarks.failures import WrongAnswer
from benchmarks.measuring import Server
from benchmarks.systems import ADMINISTRATOR, PEOPLE, Dialect, Tokens, bearer, sign_in

CONNECTIONS = 8
HASHING = 4  # connections for what hashes a password: a Tessera that has one core refuses the fifth
Workload = Callable[[Server, Dialect], Sequence[Dialogue]]


class SigningIn:
    """Signs people in, one after the other."""

    def __init__(self, dialect: Dialect, numbers: Sequence[int] = PEOPLE) -> None:
        self._dialect = dialect
        self._requests = cycle([dialect.sign_in(number) for number in numbers])

    def request(self) -> bytes:
        return next(self._requests)

    def is_right(self, reply: Reply) -> bool:
        try:
            return reply.status in (200, 201) and self._dialect.tokens(reply).access != ""
        except (ValueError, LookupError):
            return False


class Refreshing:
    """Exchanges what refreshes, then what it got for it, and so on."""

    def __init__(self, dialect: Dialect, tokens: Tokens) -> None:
        self._dialect = dialect
        self._tokens = tokens

    def request(self) -> bytes:
        return self._dialect.refresh(self._tokens)

    def is_right(self, reply: Reply) -> bool:
        try:
            self._tokens = self._dialect.refreshed(reply, self._tokens)
        except (ValueError, LookupError):
            return False
        return reply.status == 200


class SigningUp:
    """Signs up people who are nobody yet."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._name = ""

    def request(self) -> bytes:
        self._name = f"new{time.time_ns():x}"
        return self._dialect.sign_up(self._name)

    def is_right(self, reply: Reply) -> bool:
        return self._dialect.is_signed_up(reply, self._name)


def liveness(_: Server, __: Dialect) -> Sequence[Dialogue]:
    """Ask whether the process answers."""
    return [Repeat(http_request("GET", "/health/live"), 200, b'{"status":"ok"}')] * CONNECTIONS


def own_profiles(server: Server, dialect: Dialect) -> Sequence[Dialogue]:
    """Ask, each connection as somebody else, for one's own profile."""
    return [
        Judged(dialect.profile(token), partial(dialect.is_profile, number=number))
        for number, token in _signed_in(server, dialect).items()
    ]


def unchanged_profiles(server: Server, dialect: Dialect) -> Sequence[Dialogue]:
    """Ask likewise, and name the state that is known already."""
    return [_unchanged(server, dialect, token) for token in _signed_in(server, dialect).values()]


def _unchanged(server: Server, dialect: Dialect, token: str) -> Repeat:
    reply = server.ask(dialect.profile(token))
    if "etag" not in reply.headers:
        raise WrongAnswer(f"own profile: {reply}")
    known = {"If-None-Match": reply.headers["etag"]}
    asked = http_request("GET", dialect.profile_path, bearer(token) | known)
    return Repeat(asked, 304, b"")


def garbage_tokens(_: Server, dialect: Dialect) -> Sequence[Dialogue]:
    """Present what is no token at all."""
    return [Judged(dialect.profile("garbage"), dialect.is_refusal)] * CONNECTIONS


def forged_tokens(server: Server, dialect: Dialect) -> Sequence[Dialogue]:
    """Present a token with the end of another one, in which is the signature."""
    mine, other, *_ = _signed_in(server, dialect).values()
    return [Judged(dialect.profile(mine[:-20] + other[-20:]), dialect.is_refusal)] * CONNECTIONS


def refreshes(server: Server, dialect: Dialect) -> Sequence[Dialogue]:
    """Exchange refresh tokens, each connection its own."""
    return [Refreshing(dialect, sign_in(server, dialect, number)) for number in PEOPLE[:CONNECTIONS]]


def sign_ins(_: Server, dialect: Dialect) -> Sequence[Dialogue]:
    """Sign people in."""
    return [SigningIn(dialect, PEOPLE[start::HASHING]) for start in range(HASHING)]


def sign_ups(_: Server, dialect: Dialect) -> Sequence[Dialogue]:
    """Sign people up."""
    return [SigningUp(dialect) for _ in range(HASHING)]


def first_pages(server: Server, dialect: Dialect) -> Sequence[Dialogue]:
    """List users from the top."""
    tokens = sign_in(server, dialect, ADMINISTRATOR)
    return [Judged(dialect.first_page(tokens), dialect.is_page)] * CONNECTIONS


def deep_pages(server: Server, dialect: Dialect) -> Sequence[Dialogue]:
    """List users from deep in the list."""
    tokens = sign_in(server, dialect, ADMINISTRATOR)
    return [Judged(dialect.deep_page(tokens, server), dialect.is_page)] * CONNECTIONS


def _signed_in(server: Server, dialect: Dialect) -> dict[int, str]:
    """Return the access tokens of as many people as there are connections, by their numbers."""
    if "sign-in" not in dialect.offers:  # a bare route knows nobody
        return dict.fromkeys(PEOPLE[:CONNECTIONS], "")
    return {number: sign_in(server, dialect, number).access for number in PEOPLE[:CONNECTIONS]}


WORKLOADS: dict[str, Workload] = {
    "own profile": own_profiles,
    "forged token": forged_tokens,
    "refresh": refreshes,
    "sign-in": sign_ins,
    "sign-up": sign_ups,
    "first page": first_pages,
    "deep page": deep_pages,
    "liveness": liveness,
    "unchanged profile": unchanged_profiles,
    "garbage token": garbage_tokens,
    "sign-in, hash apart": sign_ins,
    "sign-up, letter apart": sign_ups,
}
