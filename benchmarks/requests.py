"""Measure what Tessera's requests cost, beside a bare Flask route on the same server.

    python -m benchmarks.requests                             about four minutes
    python -m benchmarks.requests --rounds 1 --seconds 1      a look
    python -m benchmarks.requests --json figures.json         keep every round's figures

Starts what a user would (`tessera migrate`, `tessera serve`: one process, the settings of
production, logs to a file) on SQLite, on PostgreSQL where one answers at TEST_POSTGRESQL_URL, and a
Flask application with one route and nothing else. The servers are pinned on one core, the clients
on another. A request's cost is the CPU time, user and system, of all the server's processes, with 8
keep-alive connections; the median of the rounds, which are interleaved in random order, so trust
the ratios within a run. A wrong answer ends the run. Progress goes to stderr, a table to stdout.
"""

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import tessera
from benchmarks.measuring import (
    Dialogue,
    Repeat,
    Sample,
    Server,
    http_request,
    markdown,
    measure,
    report,
    running,
    two_cores,
)
from benchmarks.postgresql import Database, own_database
from benchmarks.tessera import Person, Rotation, SignIn, bearer, sign_in

CONNECTIONS = 8
SIGN_INS = 4  # at once: a service that has one core refuses the fifth
USER = (
    b'{"id":"0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10","username":"person-0","email":"person-0@example.com",'
    b'"email_verified":false,"display_name":null,"locale":null,"status":"active","roles":[],'
    b'"metadata":{},"app_metadata":{},"created_at":"2026-11-22T09:30:00.000000Z",'
    b'"updated_at":"2026-11-22T09:30:00.000000Z","last_seen_at":"2026-11-22T09:31:00.000000Z"}'
)
BARE = ("-c", "from api.kit.server import serve; serve('benchmarks.requests:make_bare', port={port})")


def make_bare() -> Any:
    """Return the Flask application that answers the JSON of a user, and does nothing else."""
    from flask import Flask, Response

    app = Flask(__name__)

    @app.get("/me")
    def me() -> Response:
        return Response(USER, mimetype="application/json")

    return app


@dataclass(frozen=True)
class Site:
    """A running server, who has an account there, and what it stores in."""

    server: Server
    people: Sequence[Person] = ()
    storage: str = ""
    database: Database | None = None


Dialogues = Callable[[Site], Sequence[Dialogue]]


@dataclass
class Row:
    """One line of the table: what is asked of a site, and what each round found."""

    name: str
    site: Site
    dialogues: Dialogues
    microseconds: list[float] = field(default_factory=list)
    database_microseconds: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        """Measure one round."""
        dialogues = self.dialogues(self.site)
        before = self._database_cpu()
        sample = measure(self.site.server, dialogues, seconds)
        self.microseconds.append(sample.microseconds)
        self.p50.append(sample.percentile(0.5))
        self.p99.append(sample.percentile(0.99))
        self._note_database(before, sample)

    def _note_database(self, before: dict[int, float] | None, sample: Sample) -> None:
        """Note what the database used for all answers, those of the warming-up among them."""
        after = self._database_cpu()
        if before is not None and after:
            used = sum(after.values()) - sum(before.get(pid, 0) for pid in after)
            self.database_microseconds.append(used / sample.answers)

    def _database_cpu(self) -> dict[int, float] | None:
        return None if self.site.database is None else self.site.database.cpu()


def profile(person: Person, site: Site, headers: dict[str, str]) -> Repeat:
    """Return the exchange that asks for one's own profile, with the answer there is now."""
    reply = site.server.call("GET", "/v1/users/me", headers=headers)
    assert reply.status == 200 and json.loads(reply.body)["id"] == person.id, reply
    return Repeat(http_request("GET", "/v1/users/me", headers), 200, reply.body)


def bare_route(_: Site) -> Sequence[Dialogue]:
    """Ask for the constant."""
    return [Repeat(http_request("GET", "/me"), 200, USER)] * CONNECTIONS


def liveness(_: Site) -> Sequence[Dialogue]:
    """Ask whether the process answers."""
    return [Repeat(http_request("GET", "/health/live"), 200, b'{"status":"ok"}')] * CONNECTIONS


def own_profiles(site: Site) -> Sequence[Dialogue]:
    """Ask, each connection as somebody else, for one's own profile."""
    return [profile(person, site, _signed_in(site, person)) for person in site.people]


def unchanged_profiles(site: Site) -> Sequence[Dialogue]:
    """Ask likewise, and name the state that is known already."""
    return [_unchanged(site, _signed_in(site, person)) for person in site.people]


def _unchanged(site: Site, headers: dict[str, str]) -> Repeat:
    tag = site.server.call("GET", "/v1/users/me", headers=headers).headers["etag"]
    return Repeat(http_request("GET", "/v1/users/me", headers | {"If-None-Match": tag}), 304, b"")


def garbage_tokens(site: Site) -> Sequence[Dialogue]:
    """Present what is no token at all."""
    return [Repeat(http_request("GET", "/v1/users/me", bearer("garbage")), 401)] * CONNECTIONS


def forged_tokens(site: Site) -> Sequence[Dialogue]:
    """Present a token that has another token's signature."""
    mine, other = (sign_in(site.server, person)["access_token"] for person in site.people[:2])
    forged = f"{mine.rpartition('.')[0]}.{other.rpartition('.')[2]}"
    return [Repeat(http_request("GET", "/v1/users/me", bearer(forged)), 401)] * CONNECTIONS


def rotations(site: Site) -> Sequence[Dialogue]:
    """Exchange refresh tokens, each connection its own."""
    return [Rotation(person, sign_in(site.server, person)["refresh_token"]) for person in site.people]


def sign_ins(site: Site) -> Sequence[Dialogue]:
    """Sign people in."""
    return [SignIn(person) for person in site.people[:SIGN_INS]]


def _signed_in(site: Site, person: Person) -> dict[str, str]:
    return bearer(sign_in(site.server, person)["access_token"])


SERVICE_ROWS: dict[str, Dialogues] = {
    "`GET /health/live`": liveness,
    "`GET /v1/users/me`": own_profiles,
    "the same, 304 by `If-None-Match`": unchanged_profiles,
    "the same, 401 for garbage": garbage_tokens,
    "the same, 401 for a forged signature": forged_tokens,
    "`POST /v1/sessions/refresh`": rotations,
    "`POST /v1/sessions`, the hash in it": sign_ins,
}


@contextmanager
def started(core: int) -> Iterator[list[Row]]:
    """Start all servers and return the rows to measure, the bare route first."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        report("starting the bare route")
        bare = stack.enter_context(running(BARE, {"PATH": os.environ["PATH"]}, core, ready="/me"))
        rows = [Row("bare Flask route", Site(bare), bare_route)]
        sites = [_service(stack, core, folder / "sqlite", None)]
        if database := stack.enter_context(own_database()):
            sites.append(_service(stack, core, folder / "postgresql", database))
        for name, dialogues in SERVICE_ROWS.items():
            rows += [Row(name, site, dialogues) for site in sites[: 1 if dialogues is liveness else None]]
        yield rows


def _service(stack: ExitStack, core: int, folder: Path, database: Database | None) -> Site:
    storage = "PostgreSQL" if database else "SQLite"
    report(f"starting Tessera on {storage}")
    environ = tessera.environment(folder, None if database is None else database.url)
    server = stack.enter_context(tessera.started(environ, core))
    return Site(server, tessera.sign_up(server, CONNECTIONS), storage, database)


def table(rows: Sequence[Row]) -> str:
    """Return the medians in Markdown."""
    head = ("request", "on", "us", "PostgreSQL us", "x bare", "p50 ms", "p99 ms")
    bare = statistics.median(rows[0].microseconds)
    return markdown("llrrrrr", head, [_cells(row, bare) for row in rows])


def _cells(row: Row, bare: float) -> list[str]:
    cost = statistics.median(row.microseconds)
    share = f"{statistics.median(row.database_microseconds):,.0f}" if row.database_microseconds else ""
    times = (f"{statistics.median(values):.1f}" for values in (row.p50, row.p99))
    return [row.name, row.site.storage, f"{cost:,.0f}", share, f"{cost / bare:.1f}", *times]


def save(path: Path, rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Write the figures of every round as JSON."""
    figures = ("microseconds", "database_microseconds", "p50", "p99")
    found = [
        {"request": row.name, "on": row.site.storage} | {name: getattr(row, name) for name in figures}
        for row in rows
    ]
    run = {"rounds": options.rounds, "seconds": options.seconds, "python": platform.python_version()}
    path.write_text(json.dumps(run | {"rows": found}, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.requests",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3, help="of all requests, in random order (3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of load a round and request (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures there")
    options = parser.parse_args()
    server_core, client_core = two_cores()
    os.sched_setaffinity(0, {client_core})
    with started(server_core) as rows:
        for number in range(options.rounds):
            for row in random.sample(rows, len(rows)):
                row.run(options.seconds)
                report(
                    f"round {number + 1} of {options.rounds}: {row.name} {row.site.storage}: "
                    f"{row.microseconds[-1]:,.0f} us"
                )
    print(table(rows))
    if options.json:
        save(options.json, rows, options)


if __name__ == "__main__":
    main()
