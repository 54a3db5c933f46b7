"""Hammer the doors: does a sign-in tell by its time who has an account, and what does a flood do to others?

    python -m benchmarks.doors                    both, on SQLite and PostgreSQL, about a minute
    python -m benchmarks.doors --pairs 50 --seconds 3

The first part sends pairs of requests, one for somebody who has an account and one for nobody, in
random order, and compares their times: the difference of the medians, and the two-sided p of Mann and
Whitney's test, which is small when the times differ. The second part reads one's own profile while
64 connections sign in (those that come too many at once are answered 503), and compares the p99 with
that of a quiet service, and the memory of its processes before and after. Where `python -m benchmarks.peers
fastapi-users` has installed it, a service of fastapi-users stands beside.
The service runs on one core and the clients on another. Progress goes to stderr, tables to stdout. Requests
that fail are counted, and end no run; the exit code is 1 if Tessera failed.
"""

import argparse
import json
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

from benchmarks import tessera
from benchmarks.client import Repeat, Reply, http_request, load
from benchmarks.failures import Failures, Outcome
from benchmarks.measuring import WARM_UP, Server, markdown, percentile, report, two_cores
from benchmarks.peers.apps.common import username
from benchmarks.peers.catalogue import PEERS
from benchmarks.postgresql import STORAGES, own_database
from benchmarks.systems import Dialect, System, sign_in
from benchmarks.tessera import TESSERA
from benchmarks.workloads import SigningIn

FLOOD = 64  # connections that sign in
HEAD_START = 0.5  # seconds of a flood before a reader is measured in it
EVERY = 50  # pairs between two lines of progress
READER, CROWD = 2, 3  # the numbers of those who read, and who sign in
WIDE = "1000000 per minute"
Door = Callable[[str], bytes]


def signing_in(identifier: str) -> bytes:
    """Return a sign-in with a wrong password."""
    credentials = {"identifier": identifier, "password": "not the password"}
    return http_request("POST", "/v1/sessions", body=json.dumps(credentials).encode())


def resetting(identifier: str) -> bytes:
    """Return a request for a letter to set a new password."""
    body = json.dumps({"email": f"{identifier}@example.com"}).encode()
    return http_request("POST", "/v1/password-resets", body=body)


DOORS: dict[str, tuple[Door, int]] = {
    "`POST /v1/sessions`": (signing_in, 401),
    "`POST /v1/password-resets`": (resetting, 202),
}


class SigningInOrWaiting(SigningIn):
    """Signs the same person in, or is told to come later."""

    def is_right(self, reply: Reply) -> bool:
        return reply.status == 503 or super().is_right(reply)


@contextmanager
def fastapi_users() -> Iterator[list[System]]:
    """Yield fastapi-users on SQLite, nothing unless it is installed."""
    [peer] = [peer for peer in PEERS if peer.name == "fastapi-users"]
    with peer.systems() as found:
        yield [system for system in found if system.storage == "SQLite"]


@contextmanager
def services(core: int, only: str | None = None) -> Iterator[dict[str, Server]]:
    """Yield a service on each database that there is, or on `only` one."""
    with ExitStack() as stack:
        found = {}
        for name in STORAGES:
            if only not in (None, name.lower()):
                continue
            database = stack.enter_context(own_database()) if name == "PostgreSQL" else None
            if name == "SQLite" or database is not None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                environ = tessera.environment(folder, None if database is None else database.url)
                limits = ("FAILED_ATTEMPTS", "FAILED_ATTEMPTS_PER_ADDRESS", "FAILED_ATTEMPTS_PER_ACCOUNT")
                environ |= {f"TESSERA_{limit}": WIDE for limit in limits}
                found[name] = stack.enter_context(tessera.started(environ, core))
        yield found


def compare_times(server: Server, door: Door, status: int, pairs: int) -> tuple[list[str], Outcome]:
    """Return the cells of a row: the median times for a known and an unknown person, and the p of both.

    The outcome counts what failed.
    """
    known, nobody = door(username(READER)), door("somebody-else")
    times: dict[bytes, list[float]] = {known: [], nobody: []}
    outcome = Outcome()
    for number in range(pairs):
        for request in random.sample((known, nobody), 2):
            found = load(server.port, [Repeat(request, status)], 0)
            times[request] += found.latencies
            outcome.include(found)
        if (number + 1) % EVERY == 0:
            report(f"  {number + 1} of {pairs} pairs")
    if not all(times.values()) or not outcome.is_valid:
        return ["not valid", "", "", ""], outcome
    of_known, of_nobody = (statistics.median(found) * 1000 for found in times.values())
    cells = [f"{of_known:.2f}", f"{of_nobody:.2f}", f"{(of_known / of_nobody - 1) * 100:+.1f} %"]
    return [*cells, f"{p_of(*times.values()):.2f}"], outcome


def p_of(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided p of the Mann-Whitney U test, by the normal approximation."""
    ranked = sorted((value, group) for group, values in enumerate((first, second)) for value in values)
    ranks = sum(rank for rank, (_, group) in enumerate(ranked, 1) if group == 0)
    n, m = len(first), len(second)
    u = ranks - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))


@contextmanager
def crowd(server: Server, dialect: Dialect, connections: int, seconds: float) -> Iterator[Outcome]:
    """Let so many connections sign in meanwhile; the outcome that is yielded is complete afterwards."""
    outcome = Outcome()
    dialogues = [SigningInOrWaiting(dialect, [CROWD]) for _ in range(connections)]
    thread = Thread(target=lambda: outcome.include(load(server.port, dialogues, seconds)))
    thread.start()
    try:
        yield outcome
    finally:
        thread.join()


def flood(server: Server, dialect: Dialect, seconds: float, connections: int) -> tuple[list[str], Outcome]:
    """Return the cells of a row: the p99 of a reader, quiet and in a flood, and the MiB before and in it.

    The outcome counts what failed, of the reader and of the flood. Raises Failed or OSError.
    """
    reader = Repeat(dialect.profile(sign_in(server, dialect, READER).access))
    outcome = load(server.port, [reader], min(WARM_UP, seconds))
    quiet, before = load(server.port, [reader], seconds), server.memory()
    with crowd(server, dialect, connections, seconds + 1) as flooding:
        time.sleep(HEAD_START)
        flooded = load(server.port, [reader], seconds)
        after = server.memory()
    for found in (quiet, flooded, flooding):
        outcome.include(found)
    if not (quiet.latencies and flooded.latencies and outcome.is_valid):
        return ["not valid", "", "", "", ""], outcome
    times = [percentile(found.latencies, 0.99) * 1000 for found in (quiet, flooded)]
    figures = (*times, times[1] / times[0])
    return [*(f"{figure:.1f}" for figure in figures), f"{before:.0f}", f"{after:.0f}"], outcome


@dataclass
class Tables:
    """The rows of both tables, and what failed."""

    told: list[list[str]] = field(default_factory=list)
    flooded: list[list[str]] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)

    def add_times(self, storage: str, server: Server, pairs: int) -> None:
        """Add the rows of the first table for one database."""
        for door, (make, status) in DOORS.items():
            report(f"{storage}: {pairs} pairs at {door}")
            cells, outcome = compare_times(server, make, status, pairs)
            self.told.append([door, storage, *cells])
            self.failures.add(f"Tessera, {storage}", door, outcome)

    def add_flood(self, system: str, server: Server, dialect: Dialect, options: argparse.Namespace) -> None:
        """Add the row of a system to the second table."""
        report(f"{system}: {options.flood} connections sign in")
        is_ours = dialect is TESSERA
        with self.failures.recorded(system, "flood", is_ours=is_ours):
            cells, outcome = flood(server, dialect, options.seconds, options.flood)
            self.flooded.append([system, *cells])
            self.failures.add(system, "flood", outcome, is_ours=is_ours)

    def print(self) -> None:
        """Print both tables."""
        head = ("door", "on", "known ms", "unknown ms", "difference", "p")
        print(markdown("llrrrr", head, self.told), end="\n\n")
        head = ("service", "quiet p99 ms", "flooded p99 ms", "x", "MiB before", "MiB in the flood")
        print(markdown("lrrrrr", head, self.flooded))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.doors",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pairs", type=int, default=200, help="pairs of requests at each door (%(default)s)")
    parser.add_argument("--seconds", type=float, default=8, help="seconds of each flood (%(default)s)")
    parser.add_argument("--flood", type=int, default=FLOOD, help="connections that sign in (%(default)s)")
    parser.add_argument("--on", choices=("sqlite", "postgresql"), help="measure this database alone (both)")
    options = parser.parse_args()
    server_core, client_core = two_cores()
    os.sched_setaffinity(0, {client_core})
    tables = Tables()
    with services(server_core, options.on) as found:
        for name, server in found.items():
            with tables.failures.recorded(f"Tessera, {name}", "sign-up"):
                tessera.sign_up(server, (READER, CROWD))
                tables.add_times(name, server, options.pairs)
                tables.add_flood(f"Tessera, {name}", server, TESSERA, options)
    with fastapi_users() as peers:
        for peer in peers:
            with (
                tables.failures.recorded(str(peer), "start", is_ours=False),
                peer.started(server_core) as server,
            ):
                tables.add_flood(str(peer), server, peer.dialect, options)
    tables.print()
    tables.failures.finish()


if __name__ == "__main__":
    main()
