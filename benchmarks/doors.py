"""Hammer the doors: does a sign-in tell by its time who has an account, and what does a flood do to others?

    python -m benchmarks.doors                    both, on SQLite and PostgreSQL, about a minute
    python -m benchmarks.doors --pairs 50 --seconds 3

The first part sends pairs of requests, one for somebody who has an account and one for nobody, in
random order, and compares their times: the difference of the medians, and the two-sided p of Mann and
Whitney's test, which is small when the times differ. The second part reads one's own profile while
64 connections sign in (those that come too many at once are answered 503), and compares the p99 with
that of a quiet service, and the memory of its processes before and after. Where `python -m benchmarks.peers
fastapi-users` has installed it, a service of fastapi-users stands beside.
The service runs on one core and the clients on another. Progress goes to stderr, tables to stdout.
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
from pathlib import Path
from threading import Thread

from benchmarks import tessera
from benchmarks.client import Dialogue, Repeat, Reply, http_request, load
from benchmarks.measuring import Server, markdown, percentile, report, two_cores
from benchmarks.peers.apps.common import username
from benchmarks.peers.catalogue import PEERS
from benchmarks.postgresql import own_database
from benchmarks.systems import Dialect, System, sign_in
from benchmarks.tessera import TESSERA
from benchmarks.workloads import SigningIn

FLOOD = 64  # connections that sign in
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
def services(core: int) -> Iterator[dict[str, Server]]:
    """Yield a service on each database that there is."""
    with ExitStack() as stack:
        found = {}
        for name, database in (("SQLite", None), ("PostgreSQL", stack.enter_context(own_database()))):
            if name == "SQLite" or database is not None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                environ = tessera.environment(folder, None if database is None else database.url)
                limits = ("FAILED_ATTEMPTS", "FAILED_ATTEMPTS_PER_ADDRESS", "FAILED_ATTEMPTS_PER_ACCOUNT")
                environ |= {f"TESSERA_{limit}": WIDE for limit in limits}
                found[name] = stack.enter_context(tessera.started(environ, core))
        yield found


def compare_times(server: Server, door: Door, status: int, pairs: int) -> tuple[float, float, float]:
    """Return the median seconds for a known and an unknown person, and the p of their difference."""
    known, nobody = door(username(READER)), door("somebody-else")
    times: dict[bytes, list[float]] = {known: [], nobody: []}
    for _ in range(pairs):
        for request in random.sample((known, nobody), 2):
            times[request] += load(server.port, [Repeat(request, status)], 0)
    return statistics.median(times[known]), statistics.median(times[nobody]), p_of(*times.values())


def p_of(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided p of the Mann-Whitney U test, by the normal approximation."""
    ranked = sorted((value, group) for group, values in enumerate((first, second)) for value in values)
    ranks = sum(rank for rank, (_, group) in enumerate(ranked, 1) if group == 0)
    n, m = len(first), len(second)
    u = ranks - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))


def flood(name: str, server: Server, dialect: Dialect, seconds: float) -> list[str]:
    """Return a service's row: the p99 of a reader, quiet and in a flood, and the MiB before and in it."""
    report(f"{name}: {FLOOD} connections sign in")
    reader = Repeat(dialect.profile(sign_in(server, dialect, READER).access))
    crowd: list[Dialogue] = [SigningInOrWaiting(dialect, [CROWD]) for _ in range(FLOOD)]
    load(server.port, [reader], 0.5)
    quiet, before = percentile(load(server.port, [reader], seconds), 0.99), server.memory()
    thread = Thread(target=load, args=(server.port, crowd, seconds + 1))
    thread.start()
    time.sleep(0.5)
    flooded = percentile(load(server.port, [reader], seconds), 0.99)
    after = server.memory()
    thread.join()
    figures = (quiet * 1000, flooded * 1000, flooded / quiet)
    return [name, *(f"{figure:.1f}" for figure in figures), f"{before:.0f}", f"{after:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=200, help="pairs of requests (%(default)s)")
    parser.add_argument("--seconds", type=float, default=8, help="of each flood (%(default)s)")
    options = parser.parse_args()
    server_core, client_core = two_cores()
    os.sched_setaffinity(0, {client_core})
    told, flooded = [], []
    with services(server_core) as found:
        for name, server in found.items():
            tessera.sign_up(server, (READER, CROWD))
            for door, (make, status) in DOORS.items():
                report(f"{name}: {options.pairs} pairs at {door}")
                known, nobody, p = compare_times(server, make, status, options.pairs)
                cells = (
                    f"{known * 1000:.2f}",
                    f"{nobody * 1000:.2f}",
                    f"{(known / nobody - 1) * 100:+.1f} %",
                )
                told.append((door, name, *cells, f"{p:.2f}"))
            flooded.append(flood(f"Tessera, {name}", server, TESSERA, options.seconds))
    with fastapi_users() as peers:
        for peer in peers:
            with peer.started(server_core) as server:
                flooded.append(flood(str(peer), server, peer.dialect, options.seconds))
    print(markdown("llrrrr", ("door", "on", "known ms", "unknown ms", "difference", "p"), told))
    print(
        markdown(
            "lrrrrr",
            ("service", "quiet p99 ms", "flooded p99 ms", "x", "MiB before", "MiB in the flood"),
            flooded,
        )
    )


if __name__ == "__main__":
    main()
