"""Let people live with Tessera for an hour at 70 % of what it can take, and see whether anything grows.

    python -m benchmarks.soak                            an hour on SQLite
    python -m benchmarks.soak --minutes 20 --on postgresql

Starts what a user would, finds out how many requests a second it answers at most, and lets so much of
that go: sign-ups, each sent twice with one Idempotency-Key, wrong passwords, sign-ins, own profiles,
refreshes, the list, requests for a letter, sign-outs, deletions. Memory (PSS), descriptors, threads and
the rows of every table are looked at every five seconds. Settings make short what may be short; what has
to wait for days, deleted accounts and idempotency keys, is made 40 days older once a minute, and then a
`tessera worker` comes up, which does at once the chores that are else done every hour. The verdict, and
the exit code, is whether anything has grown from the third quarter of the time to the fourth, mean
against mean; quarters should have two minutes. The audit trail is never pruned: it grows with what is done.
A request that fails is counted and ends no run, but then the exit code is 1 as well.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import fmean

import sqlalchemy as sa

from api.kit.idempotency import IdempotencyKey
from api.users.models import User
from benchmarks import tessera
from benchmarks.failures import Failed, Failures, Outcome
from benchmarks.growth import State, Watch, growth
from benchmarks.journeys import Pace, travelling
from benchmarks.measuring import ROOT, Server, markdown, percentile, report, two_cores
from benchmarks.peers.apps.common import PASSWORD
from benchmarks.postgresql import own_database

PEOPLE = 16
ADMINISTRATOR = "watcher"
EVERY = 5.0  # seconds between two looks
CALIBRATION = 20.0  # seconds
LEAST_LOOKS = 8  # of a run, however short it is
MINUTES_FOR_A_VERDICT = 8  # two for each quarter
TRAIL = ("audit_events", "audit_seals")  # kept for ever
MOST = {"memory MiB": 0.05, "descriptors": 0.1, "threads": 0.1}  # growth with a thousand requests
MOST_ROWS = 2.0
SHORT = {
    "TESSERA_ACCESS_TOKEN_SECONDS": "60",
    "TESSERA_CLOCK_SKEW_SECONDS": "0",
    "TESSERA_EMAIL_TOKEN_SECONDS": "300",
    "TESSERA_PASSWORD_RESET_SECONDS": "300",
    **dict.fromkeys(
        (
            "TESSERA_FAILED_ATTEMPTS",
            "TESSERA_FAILED_ATTEMPTS_PER_ADDRESS",
            "TESSERA_FAILED_ATTEMPTS_PER_ACCOUNT",
            "TESSERA_MAIL_LIMIT",
        ),
        "1000000 per second",
    ),
}
Value = Callable[[State], float]


@contextmanager
def storage(kind: str) -> Iterator[tuple[dict[str, str], str]]:
    """Yield the variables of a service on a database of its own, and the URL of that."""
    with tempfile.TemporaryDirectory() as folder, own_database() as database:
        url = f"sqlite:///{folder}/tessera.db"
        if kind == "postgresql":
            if database is None:
                raise Failed("there is no PostgreSQL")
            url = database.url
        yield tessera.environment(Path(folder), url) | SHORT, url


def capacity(port: int, people: int, seconds: float, failed: Outcome) -> float:
    """Return how many requests a second are answered when nobody waits, after a warming-up."""
    report(f"finding out what it can take, in {seconds * 1.25:.0f} seconds")
    pace = Pace()
    with travelling(port, people, ADMINISTRATOR, pace, failed):
        time.sleep(seconds / 4)
        before = len(pace.latencies)
        time.sleep(seconds)
        answered = len(pace.latencies) - before
    if not answered:
        raise Failed(f"no request was answered: {failed.first}")
    return answered / seconds


class Days:
    """Lets days pass once a minute, for what waits for them, and the chores be done that come after."""

    def __init__(self, watch: Watch, environ: Mapping[str, str]) -> None:
        self._watch = watch
        self._environ = {name: value for name, value in environ.items() if name != "TESSERA_PORT"}
        self._due_at = time.monotonic() + 60
        self._worker: subprocess.Popen[bytes] | None = None

    def pass_by(self) -> None:
        """Begin what is due, and end what was begun the last time."""
        self.close()
        if time.monotonic() < self._due_at:
            return
        self._due_at += 60
        age(self._watch.engine, spared=timedelta(seconds=30))
        command = [sys.executable, "-m", "api", "worker"]
        self._worker = subprocess.Popen(command, env=self._environ, cwd=ROOT, stderr=subprocess.DEVNULL)

    def close(self) -> None:
        if self._worker is not None:
            self._worker.terminate()
            self._worker.wait()
            self._worker = None


def age(engine: sa.Engine, spared: timedelta = timedelta(0)) -> None:
    """Make what waits for days look as if it had waited; keys that are in use are spared."""
    now = datetime.now(UTC)
    before = now - timedelta(days=40)
    answered = IdempotencyKey.answer.is_not(None), IdempotencyKey.claimed_at <= now - spared
    with engine.begin() as connection:
        deleted = sa.update(User).where(User.deleted_at.is_not(None))
        connection.execute(deleted.values(deleted_at=before))
        connection.execute(sa.update(IdempotencyKey).where(*answered).values(claimed_at=before))


def watched(
    server: Server, watch: Watch, days: Days, pace: Pace, check: Callable[[], None], seconds: float
) -> list[State]:
    """Return what was seen meanwhile, and report it; ends early if the server does."""
    states: list[State] = []
    every = min(EVERY, seconds / LEAST_LOOKS)
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(states) < 4:  # a quarter needs a look, however slow it is
        begun = len(pace.latencies)
        time.sleep(every)
        check()
        if server.process.poll() is not None:
            break
        days.pass_by()
        latencies = pace.latencies[begun:]  # of that time, before the look, which takes its own
        states.append(watch.look())
        report(progress(states[-1], latencies, every, end - time.monotonic()))
    return states


def progress(state: State, latencies: Sequence[float], every: float, left: float) -> str:
    """Return the line that says how it stands."""
    rows = " ".join(f"{name} {count}" for name, count in state.rows.items() if count and name not in TRAIL)
    speed, slow = len(latencies) / every, percentile(latencies, 0.99) * 1000 if latencies else 0
    return (
        f"{left / 60:5.1f} min left: {speed:4.0f}/s, p99 {slow:4.0f} ms, {state.memory:6.1f} MiB, "
        f"{state.descriptors} descriptors, {state.threads} threads; {rows}"
    )


def values(states: Sequence[State]) -> dict[str, Value]:
    """Return what is judged, by its name."""
    found: dict[str, Value] = {
        "memory MiB": lambda state: state.memory,
        "descriptors": lambda state: state.descriptors,
        "threads": lambda state: state.threads,
    }
    filled = [name for name in states[-1].rows if any(state.rows[name] for state in states)]
    return found | {name: partial(rows_of, name) for name in filled}


def rows_of(table: str, state: State) -> float:
    return state.rows[table]


def judged(states: Sequence[State], rate: float, minutes: float) -> tuple[str, bool]:
    """Return the table of what was seen, and whether nothing grows but the trail.

    A run of less than MINUTES_FOR_A_VERDICT gets none: in so short a time everything grows at first.
    """
    quarter = len(states) // 4
    parts = [states[i * quarter : (i + 1) * quarter] for i in range(4)]
    rows, is_flat = [], True
    for name, value in values(states).items():
        grown = growth(states, value) / rate * 1000
        verdict = "kept" if name in TRAIL else "flat" if grown <= MOST.get(name, MOST_ROWS) else "GROWS"
        verdict = verdict if minutes >= MINUTES_FOR_A_VERDICT else "too short"
        is_flat = is_flat and verdict != "GROWS"
        rows.append([name, *(f"{fmean(map(value, part)):,.0f}" for part in parts), f"{grown:+.3f}", verdict])
    head = ("mean of", "quarter 1", "2", "3", "4", "per 1,000 requests", "verdict")
    return markdown("lrrrrrl", head, rows), is_flat


def sentence(pace: Pace, rate: float, most: float, failed: int) -> str:
    """Return the sentence about the requests."""
    times = pace.latencies
    p50, p99 = (percentile(times, part) * 1000 for part in (0.5, 0.99))
    return (
        f"{len(times):,} requests, {rate:.0f} of {most:.0f} a second: p50 {p50:.0f} ms, p99 {p99:.0f} ms, "
        f"{pace.put_off:,} answered 503 and sent again, {failed:,} failed."
    )


def make_administrator(environ: Mapping[str, str]) -> None:
    """Make the administrator from the shell."""
    command = [sys.executable, "-m", "api", "user", "create", "--admin", "--password-stdin"]
    named = ["--username", ADMINISTRATOR, "--email", f"{ADMINISTRATOR}@example.com"]
    variables = {name: value for name, value in environ.items() if name != "TESSERA_PORT"}
    password = f"{PASSWORD}\n".encode()
    subprocess.run(
        [*command, *named], env=variables, cwd=ROOT, input=password, check=True, capture_output=True
    )


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--minutes",
        type=float,
        default=60,
        help=f"minutes of load; less than {MINUTES_FOR_A_VERDICT} give no verdict (%(default)s)",
    )
    add("--on", choices=("sqlite", "postgresql"), default="sqlite", help="database to measure (%(default)s)")
    add("--people", type=int, default=PEOPLE, help="people at the same time (%(default)s)")
    add("--share", type=float, default=0.7, help="load, as a share of what it can take (%(default)s)")
    add(
        "--calibration",
        type=float,
        default=CALIBRATION,
        help="seconds to find out what it can take, after a quarter of that to warm up (%(default)s)",
    )
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    server_core, client_core = two_cores()
    os.sched_setaffinity(0, {client_core})
    failures, failed = Failures(), Outcome()
    system = "Tessera, " + ("SQLite" if options.on == "sqlite" else "PostgreSQL")
    with storage(options.on) as (environ, url), tessera.started(environ, server_core) as server:
        make_administrator(environ)
        most = capacity(server.port, options.people, options.calibration, failed)
        rate = most * options.share
        report(f"{most:.0f} requests a second at most; {rate:.0f} for {options.minutes:g} minutes")
        pace = Pace(rate)
        with (
            closing(Watch(server.process.pid, url)) as watch,
            closing(Days(watch, environ)) as days,
            travelling(server.port, options.people, ADMINISTRATOR, pace, failed) as check,
        ):
            states = watched(server, watch, days, pace, check, options.minutes * 60)
        if (code := server.process.poll()) is not None:
            failed.fail(f"the server has ended with exit code {code}")
    failed.counted = max(0, len(pace.latencies) - failed.failed)
    failures.add(system, f"{options.minutes:g} minutes", failed)
    conclude(states, pace, rate, most, options.minutes, failures)


def conclude(
    states: Sequence[State], pace: Pace, rate: float, most: float, minutes: float, failures: Failures
) -> None:
    """Print what was found, and end the run; the exit code is 1 if something grows or failed."""
    is_flat = True
    if len(states) < 4:
        print("There are no figures: the run ended too early.")
    else:
        table, is_flat = judged(states, rate, minutes)
        print(f"{table}\n\n{sentence(pace, rate, most, sum(one.failed for one in failures.found))}")
    print(f"\n{failures.text()}")
    sys.exit(failures.exit_code if is_flat else 1)


if __name__ == "__main__":
    main()
