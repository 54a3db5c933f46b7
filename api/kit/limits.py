"""Limits of requests: counted by client network, in this process or in Redis, and told in headers."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from flask import Flask

from api.kit import clock
from api.kit.addresses import client_address, network_of
from api.kit.config import LIMITS, REDIS_URL, WORKERS
from api.kit.current import extensions
from api.kit.http import add_headers
from api.kit.logger import get_logger
from api.kit.problems import TooManyRequests
from api.kit.settings import Limit, Setting, Settings

if TYPE_CHECKING:
    from redis import Redis

WAIT_SECONDS = 0.25  # that a request waits for Redis
REST_SECONDS = 2.0  # before Redis is asked again after it did not answer
# What answers of limited operations carry (draft-ietf-httpapi-ratelimit-headers).
HEADERS = {
    "RateLimit": "What is left: `r` requests for the next `t` seconds.",
    "RateLimit-Policy": "The limit: `q` requests in `w` seconds.",
}
_CONNECTIONS = 8  # to Redis, of one process

log = get_logger(source="tessera.limits")


@dataclass(frozen=True)
class Policy:
    """A limit by its name; operations with one policy are counted together."""

    name: str
    limit: Limit

    @classmethod
    def of(cls, declared: Setting[Limit] | None, settings: Settings) -> "Policy | None":
        """Return the policy that a setting declares: `SIGN_UP_LIMIT` is `sign-up`."""
        if declared is None or settings[LIMITS] == "off":
            return None
        name = declared.name.removesuffix("_LIMIT").lower().replace("_", "-")
        return cls(name, settings[declared])


class Counter(Protocol):
    """Counts requests in windows, which are numbered from the epoch."""

    def add(self, policy: Policy, window: int, network: str) -> int:
        """Count one more, and return how many there are; never raises."""


class Here:
    """Counts in this process; a window that has passed is dropped as a whole."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._windows: dict[str, tuple[int, dict[str, int]]] = {}

    def add(self, policy: Policy, window: int, network: str) -> int:
        with self._lock:
            current, counts = self._windows.get(policy.name, (window, {}))
            if current != window:
                counts = {}
            counts[network] = counts.get(network, 0) + 1
            self._windows[policy.name] = window, counts
            return counts[network]


class InRedis:
    """Counts in Redis, and here as well: what is known here holds while Redis is slow or gone.

    Threads of our own ask Redis, since no timeout of its client bounds the look-up of a name. After a
    failure one request in REST_SECONDS tries whether it answers again; the others do not wait with it.
    """

    def __init__(self, url: str) -> None:
        self._here = Here()
        self._redis = _redis(url)
        self._threads = ThreadPoolExecutor(_CONNECTIONS, "limits")
        self._asks_again_at: float | None = None  # None while Redis answers

    def add(self, policy: Policy, window: int, network: str) -> int:
        here = self._here.add(policy, window, network)
        return max(here, self._everywhere(policy, window, network)) if self._may_ask() else here

    def _may_ask(self) -> bool:
        now = clock.monotonic()
        if self._asks_again_at is None:
            return True
        if now < self._asks_again_at:
            return False
        self._asks_again_at = now + REST_SECONDS
        return True

    def _everywhere(self, policy: Policy, window: int, network: str) -> int:
        """Return how many Redis has counted, or 0 when it does not answer."""
        key = f"tessera:limits:{policy.name}:{window}:{network}"
        asked = self._threads.submit(self._increment, key, policy.limit.seconds)
        try:
            count = asked.result(WAIT_SECONDS)
        except Exception as error:  # whatever it is, requests are limited by what is counted here
            asked.cancel()
            if self._asks_again_at is None:
                log.warning("redis_unavailable", cause=type(error).__name__, limits="counted by process")
            self._asks_again_at = clock.monotonic() + REST_SECONDS
            return 0
        if self._asks_again_at is not None:
            log.info("redis_available", limits="shared")
            self._asks_again_at = None
        return count

    def _increment(self, key: str, seconds: int) -> int:
        with self._redis.pipeline(transaction=False) as commands:
            commands.incr(key)
            commands.expire(key, seconds)
            return int(commands.execute()[0])


def _redis(url: str) -> "Redis":
    """Return a client that neither waits long nor tries again."""
    from redis import Redis  # who has no Redis does not pay for the import
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    timeouts = {"socket_timeout": WAIT_SECONDS, "socket_connect_timeout": WAIT_SECONDS}
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), **timeouts)


def reach(url: str) -> None:
    """Raise when Redis does not answer."""
    _redis(url).ping()


def init_limits(app: Flask, settings: Settings) -> None:
    """Give the app what counts its requests."""
    url = settings[REDIS_URL]
    app.extensions["tessera.limits"] = InRedis(url) if url else Here()


def count_request(policy: Policy) -> None:
    """Count the current request; raises TooManyRequests when it is beyond the policy."""
    counter: Counter = extensions()["tessera.limits"]
    quota, seconds = policy.limit.quota, policy.limit.seconds
    window, passed = divmod(clock.now().timestamp(), seconds)
    count = counter.add(policy, int(window), network_of(client_address()))
    left = math.ceil(seconds - passed)
    add_headers(
        ("RateLimit", f'"{policy.name}";r={max(0, quota - count)};t={left}'),
        ("RateLimit-Policy", f'"{policy.name}";q={quota};w={seconds}'),
    )
    if count > quota:
        raise TooManyRequests(left)


@dataclass(frozen=True)
class Explained:
    """A sentence on what is limited, and whether the operator should look at that."""

    text: str
    is_weak: bool = False


def explain(settings: Settings) -> Iterator[Explained]:
    """Yield what is limited, and over which processes."""
    if settings[LIMITS] == "off":
        yield Explained(f"{LIMITS.variable} is off: PASSWORDS MAY BE GUESSED WITHOUT LIMIT.", is_weak=True)
        return
    yield Explained("Failed sign-ins are limited over all processes, in the database.")
    if settings[REDIS_URL]:
        yield Explained("Requests are limited over all processes, in Redis.")
    elif settings[WORKERS] > 1:
        text = f"Requests are limited by each of the {settings[WORKERS]} processes for itself, so together"
        text += f" by up to {settings[WORKERS]} times as much; set {REDIS_URL.variable} to share the limits."
        yield Explained(text, is_weak=True)
    else:
        yield Explained("Requests are limited by this process.")
