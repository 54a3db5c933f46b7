"""Measure what somebody honest notices of slow and idle clients, and of a flood of sign-ins.

    python -m benchmarks.under_load                    on SQLite and PostgreSQL, about three minutes
    python -m benchmarks.under_load --seconds 3        a look

Somebody gets `/health/live`, and then their own profile, again and again, each time on a new connection:
alone; while 200 clients send a body a byte a second, or headers, and come back when they are cut; while
2,000 connections are open that had an answer and are idle, and get another one at the end; and while 64
connections sign in. The service is as a user starts it, in one process on one core, and the clients are on
another. A visit that is not answered 200 in 5 seconds has failed, and counts as 5 seconds. Progress goes to
stderr, a table to stdout. Failures end no run; with any the exit code is 1.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from benchmarks import tessera
from benchmarks.crowds import SLOW, idle, slowly, visits, with_patience
from benchmarks.doors import CROWD, FLOOD, READER, crowd, services
from benchmarks.failures import Failures, Outcome
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


def crowds(slow: int, connections: int, flood: int) -> Sequence[Crowd]:
    """Return nobody, and every crowd with so many clients."""
    return (
        Crowd("nobody", lambda *_: nullcontext()),
        Crowd(f"{slow:,} slow bodies", lambda server, _: slowly(server, BODY, slow)),
        Crowd(f"{slow:,} slow headers", lambda server, _: slowly(server, HEADERS, slow)),
        Crowd(
            f"{connections:,} idle connections", lambda server, _: idle(server, LIVE, connections), lasts=0.5
        ),
        Crowd(
            f"{flood:,} connections that sign in",
            lambda server, seconds: crowd(server, TESSERA, flood, seconds),
        ),
    )


def measured(
    server: Server, beside: Crowd, path: str, headers: Mapping[str, str], seconds: float
) -> tuple[Outcome, Outcome]:
    """Return the visits while a crowd was there, and what failed of the crowd itself."""
    found, others = Outcome(), Outcome()
    settle = min(SETTLE, seconds)
    while seconds > 0:
        this_time = min(seconds, beside.lasts)
        with beside.come(server, settle + this_time) as coming:
            time.sleep(settle)
            found.include(visits(server, path, this_time, headers))
        if isinstance(coming, Outcome):
            others.include(coming)
        seconds -= this_time
    return found, others


@dataclass
class Table:
    """The rows, and what failed."""

    options: argparse.Namespace
    rows: list[list[str]] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)

    def add(self, storage: str, server: Server) -> None:
        """Add the rows of one database."""
        tessera.sign_up(server, (READER, CROWD))
        token = bearer(sign_in(server, TESSERA, READER).access)
        for path, headers in ((LIVE, {}), (ME, token)):
            for beside in crowds(self.options.slow, self.options.idle, self.options.flood):
                what = f"GET {path} beside {beside.name}"
                report(f"{storage}: {what}")
                with self.failures.recorded(f"Tessera, {storage}", what):
                    found, others = measured(server, beside, path, headers, self.options.seconds)
                    self.failures.add(f"Tessera, {storage}", what, found)
                    self.failures.add(f"Tessera, {storage}", f"{beside.name} ({path})", others)
                    self.rows.append([f"`GET {path}`", storage, beside.name, *cells(found)])


def cells(found: Outcome) -> list[str]:
    """Return the percentiles of visits in milliseconds, the longest, and how many failed."""
    times = with_patience(found)
    parts = [f"{percentile(times, part) * 1000:.1f}" for part in (0.5, 0.95, 0.99)]
    failed = f"{found.failed}" if found.is_valid else f"{found.failed}, not valid"
    return [*parts, f"{max(times) * 1000:.0f}", failed]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.under_load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seconds", type=float, default=8, help="seconds of visits for each row (%(default)s)")
    add("--slow", type=int, default=SLOW, help="clients that send a byte a second (%(default)s)")
    add("--idle", type=int, default=IDLE, help="idle connections (%(default)s)")
    add("--flood", type=int, default=FLOOD, help="connections that sign in (%(default)s)")
    add("--on", choices=("sqlite", "postgresql"), help="measure this database alone (both)")
    options = parser.parse_args()
    server_core, client_core = two_cores()
    os.sched_setaffinity(0, {client_core})
    table = Table(options)
    with services(server_core, options.on) as found:
        for name, server in found.items():
            with table.failures.recorded(f"Tessera, {name}", "sign-up"):
                table.add(name, server)
    head = ("what", "on", "beside", "p50 ms", "p95 ms", "p99 ms", "most ms", "failed")
    print(markdown("lllrrrrr", head, table.rows))
    table.failures.finish()


if __name__ == "__main__":
    main()
