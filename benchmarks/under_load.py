"""Measure what somebody honest notices of slow and idle clients, and of a flood of sign-ins.

    python -m benchmarks.under_load                    on SQLite and PostgreSQL, about three minutes
    python -m benchmarks.under_load --seconds 3        a look

Somebody gets `/health/live`, and then their own profile, again and again, each time on a new connection:
alone; while 200 clients send a body a byte a second, or headers, and come back when they are cut; while
2,000 connections are open that had an answer and are idle, and get another one at the end; and while 64
connections sign in. The service is as a user starts it, in one process on one core, and the clients are on
another. What is not answered in 5 seconds counts as 5 seconds. Progress goes to stderr, a table to stdout.
"""

import argparse
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from benchmarks import tessera
from benchmarks.client import Dialogue, load
from benchmarks.crowds import SLOW, idle, slowly, visits
from benchmarks.doors import CROWD, FLOOD, READER, SigningInOrWaiting, services
from benchmarks.measuring import Server, markdown, percentile, report, two_cores
from benchmarks.systems import bearer, sign_in
from benchmarks.tessera import TESSERA

LIVE, ME = "/health/live", "/v1/users/me"
IDLE = 2000
SETTLE = 1.0  # seconds before a crowd counts
HEADERS = b"POST /v1/users HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nX-Slow: "
BODY = HEADERS + b'no\r\nContent-Length: 999\r\n\r\n{"username": "'


@dataclass(frozen=True)
class Crowd:
    """Who else is there, for so many seconds at a time: idle connections are closed after 5."""

    name: str
    come: Callable[[Server, float], AbstractContextManager[object]]
    lasts: float = 60.0


@contextmanager
def signing_in(server: Server, seconds: float) -> Iterator[None]:
    """Let FLOOD connections sign in."""
    crowd: list[Dialogue] = [SigningInOrWaiting(TESSERA, [CROWD]) for _ in range(FLOOD)]
    thread = threading.Thread(target=load, args=(server.port, crowd, seconds))
    thread.start()
    try:
        yield
    finally:
        thread.join()


CROWDS = (
    Crowd("nobody", lambda *_: nullcontext()),
    Crowd(f"{SLOW} slow bodies", lambda server, _: slowly(server, BODY)),
    Crowd(f"{SLOW} slow headers", lambda server, _: slowly(server, HEADERS)),
    Crowd(f"{IDLE:,} idle connections", lambda server, _: idle(server, LIVE, IDLE), lasts=0.5),
    Crowd(f"{FLOOD} connections that sign in", signing_in),
)


def measured(
    server: Server, crowd: Crowd, path: str, headers: Mapping[str, str], seconds: float
) -> list[float]:
    """Return the seconds that visits took while a crowd was there."""
    found: list[float] = []
    while seconds > 0:
        this_time = min(seconds, crowd.lasts)
        with crowd.come(server, SETTLE + this_time):
            time.sleep(SETTLE)
            found += visits(server, path, this_time, headers)
        seconds -= this_time
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.under_load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=8, help="of visits for each row (%(default)s)")
    options = parser.parse_args()
    server_core, client_core = two_cores()
    os.sched_setaffinity(0, {client_core})
    rows = []
    with services(server_core) as found:
        for name, server in found.items():
            tessera.sign_up(server, (READER, CROWD))
            token = bearer(sign_in(server, TESSERA, READER).access)
            for path, headers in ((LIVE, {}), (ME, token)):
                for crowd in CROWDS:
                    report(f"{name}: GET {path} beside {crowd.name}")
                    times = measured(server, crowd, path, headers, options.seconds)
                    parts = (f"{percentile(times, part) * 1000:.1f}" for part in (0.5, 0.95, 0.99))
                    rows.append((f"`GET {path}`", name, crowd.name, *parts, f"{max(times) * 1000:.0f}"))
    print(markdown("lllrrrr", ("what", "on", "beside", "p50 ms", "p95 ms", "p99 ms", "most ms"), rows))


if __name__ == "__main__":
    main()
