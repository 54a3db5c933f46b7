"""Measure what Tessera costs, beside a bare Flask route on the same server and the peers that are installed.

    python -m benchmarks.performance                              all; writes docs/performance
    python -m benchmarks.performance --rounds 1 --seconds 1 --to /tmp/look      a look
    python -m benchmarks.performance --only Tessera,djoser --to /tmp/look       some

Starts what a user would (`tessera serve`: one process, the settings of production, logs to a file) on
SQLite, on PostgreSQL where one answers at TEST_POSTGRESQL_URL, a Flask application with one route and
nothing else, and the peers that `make bench-peers` has installed. Each has 100,000 users. The servers are
pinned on one core, the clients on another, and one server at a time is asked. A request's cost is the CPU
time, user and system, of all the server's processes, with 8 keep-alive connections (4 for what hashes a
password); the median of the rounds. In each round every server is started anew, and all take turns, in
random order, at each workload, in random order: trust the ratios within a run.
Then one process of Tessera and two answer on all cores, the load made by wrk where it is installed. Progress
goes to stderr, a table to stdout; the tables, every figure and a plot go to a folder.
A request that fails ends no run: failures are counted beside the figures, and a figure with more than 1 %
failed requests is not valid. The last line names who failed; the exit code is 1 if Tessera did.
"""

import argparse
import os
import platform
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import TypeVar

from api.kit.hashing import Argon2id
from benchmarks import tessera
from benchmarks.failures import Failed
from benchmarks.figures import Figure, Record, Run
from benchmarks.measuring import ROOT, Server, measure, report, two_cores
from benchmarks.peers.apps.common import ARGON2, PASSWORD, USERS
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.dialects import BareRoute
from benchmarks.postgresql import STORAGES
from benchmarks.publishing import publish
from benchmarks.systems import ADMINISTRATOR, BARE, OURS, System, sign_in
from benchmarks.throughput import answered_by, load_generator
from benchmarks.workloads import WORKLOADS

FOLDER = ROOT / "docs" / "performance"
FEWEST = 200  # users: the deep page needs a page after its half of them
SERVE_BARE = (
    "from api.kit.server import serve; serve('benchmarks.peers.apps.bare_flask:make_app', port={port})"
)
Item = TypeVar("Item")


@contextmanager
def systems(
    only: Sequence[str], users: int = USERS, storages: Sequence[str] = STORAGES
) -> Iterator[list[System]]:
    """Yield all that is to be measured, Tessera first; peers always have USERS users."""

    def wanted(name: str) -> bool:
        return not only or any(part.lower() in name.lower() for part in only)

    with ExitStack() as stack:
        found = stack.enter_context(tessera.filled(users, storages)) if wanted(OURS) else []
        if wanted(BARE):
            command = ("-c", SERVE_BARE)
            found.append(System(BARE, "", BareRoute(), command, {"PATH": os.environ["PATH"]}, "/me", hash=""))
        if users != USERS:
            report(f"Peers are left out: they have {USERS:,} users.")
        for peer in PEERS if users == USERS else ():
            if wanted(peer.name):
                present = stack.enter_context(peer.systems())
                found += [system for system in present if system.storage in ("", *storages)]
        yield found


def measure_costs(run: Run, found: Sequence[System], rounds: int, seconds: float) -> None:
    """Measure what every workload costs everybody, the servers on one core and the clients on another."""
    cores = os.sched_getaffinity(0)
    server_core, client_core = two_cores()
    records = {system: Record(system.name, system.storage, system.hash) for system in found}
    run.records += records.values()
    os.sched_setaffinity(0, {client_core})
    try:
        for number in range(rounds):
            Round(run, records, server_core, seconds, f"round {number + 1} of {rounds}").measure()
    finally:
        os.sched_setaffinity(0, cores)


def measure_throughput(run: Run, found: Sequence[System], rounds: int, seconds: float) -> None:
    """Measure what one process of Tessera and two answer on all cores."""
    services = [system for system in found if system.name == OURS]
    for _ in range(rounds):
        for system, processes in shuffled(product(services, (1, 2))):
            what = f"throughput of {processes}"
            with run.failures.recorded(str(system), what):
                one = answered_by(system, processes, seconds)
                run.throughput.append(one.throughput)
                run.failures.add(str(system), what, one.outcome)
                rate = one.throughput.requests_per_second
                report(f"{system}, processes: {processes}, requests a second: {rate:,.0f}")


@dataclass(frozen=True)
class Round:
    """One round: every system is started anew, and asked for all that it offers.

    What fails costs a figure and not the run: a system that does not start, or ends, is left out of the rest
    of the round.
    """

    run: Run
    records: Mapping[System, Record]
    core: int
    seconds: float
    name: str

    def measure(self) -> None:
        """Measure the round."""
        report(self.name)
        with ExitStack() as stack:
            servers: dict[System, Server] = {}
            for system in shuffled(self.records):
                with self._recorded(system, "start"):
                    servers[system] = stack.enter_context(system.started(self.core))
                    self._prepare(system, servers[system])
            for workload in shuffled(WORKLOADS):
                if workload == "sign-in":
                    self.run.hash_us.append(hash_cost(self.core, self.seconds))
                for system in shuffled(servers):
                    if workload in system.dialect.offers:
                        self._measure(system, servers[system], workload)
            for system, server in servers.items():
                with suppress(OSError, LookupError):  # it has ended, which is recorded
                    self.records[system].loaded_mib.append(server.memory())

    @contextmanager
    def _recorded(self, system: System, what: str) -> Iterator[None]:
        """Record what fails here, with the round, and count it beside the workload."""
        failures, record = self.run.failures, self.records[system]
        before = len(failures.found)
        with failures.recorded(str(system), f"{what}, {self.name}", is_ours=system.is_ours):
            yield
        failed = sum(failure.failed for failure in failures.found[before:])
        if failed:
            record.failed[what] = record.failed.get(what, 0) + failed

    def _prepare(self, system: System, server: Server) -> None:
        record = self.records[system]
        server.settle()
        record.start_ms.append(server.start * 1000)
        record.idle_mib.append(server.memory())
        report(f"{record}: started in {record.start_ms[-1]:,.0f} ms")
        if "sign-in" in system.dialect.offers:  # some import modules now, and fail if two do so at once
            sign_in(server, system.dialect, ADMINISTRATOR)

    def _measure(self, system: System, server: Server, workload: str) -> None:
        with self._recorded(system, workload):
            if (code := server.process.poll()) is not None:
                raise Failed(f"not measured: the server has ended with exit code {code}")
            dialogues = WORKLOADS[workload](server, system.dialect)
            database_cpu = system.database.cpu if system.database else lambda: None
            sample = measure(server, dialogues, self.seconds, database_cpu)
            figure = Figure.of(sample)
            self.records[system].workloads.setdefault(workload, []).append(figure)
            what = f"{workload}, {self.name}"
            self.run.failures.add(str(system), what, sample.outcome, is_ours=system.is_ours)
            report(f"{workload}: {system}: {figure.us:,.0f} us")


def shuffled(items: Iterable[Item]) -> list[Item]:
    """Return items in random order."""
    found = list(items)
    return random.sample(found, len(found))


def hash_cost(core: int, seconds: float) -> float:
    """Return the CPU microseconds of one hash of ours on the servers' core."""
    argon2 = Argon2id(ARGON2["memory_cost"], ARGON2["time_cost"])
    clients = os.sched_getaffinity(0)
    hashed, count = argon2.hash(PASSWORD), 0
    os.sched_setaffinity(0, {core})
    begin, end = time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        argon2.verify(hashed, PASSWORD)
        count += 1
    used = time.process_time() - begin
    os.sched_setaffinity(0, clients)
    return used / count * 1e6


def arguments() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.performance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="rounds of all workloads, in random order (%(default)s)")
    add(
        "--seconds", type=float, default=2.0, help="seconds of load for each round and workload (%(default)s)"
    )
    add(
        "--only",
        default="",
        metavar="NAMES",
        help="measure the systems with one of these, separated by commas, in their names (all)",
    )
    add("--on", choices=("sqlite", "postgresql"), help="measure on this database alone (both)")
    add(
        "--users",
        type=int,
        default=USERS,
        help="users in each of Tessera's databases, 200 at least; peers have 100,000 and are left out with "
        "another number (%(default)s)",
    )
    add(
        "--to",
        type=Path,
        default=FOLDER,
        metavar="FOLDER",
        help="folder for README.md, figures.json and performance.svg (docs/performance)",
    )
    return parser


def main(given: Sequence[str] | None = None) -> None:
    """Measure, write, and print; the exit code is 1 if Tessera failed, and 0 if only a peer did."""
    parser = arguments()
    options = parser.parse_args(given)
    if options.users < FEWEST:
        parser.error(f"--users must be {FEWEST} at least")
    storages = [storage for storage in STORAGES if options.on in (None, storage.lower())]
    with systems([part for part in options.only.split(",") if part], options.users, storages) as found:
        run = Run(_today(), _command(options), _machine(found), _versions(found), load_generator())
        run.users = options.users
        measure_costs(run, found, options.rounds, options.seconds)
        measure_throughput(run, found, options.rounds, options.seconds * 2)
    print(publish(run, options.to))
    run.failures.finish()


def _command(options: argparse.Namespace) -> str:
    words = [f"python -m benchmarks.performance --rounds {options.rounds} --seconds {options.seconds:g}"]
    words += [f"--only '{options.only}'"] if options.only else []
    words += [f"--on {options.on}"] if options.on else []
    words += [f"--users {options.users}"] if options.users != USERS else []
    return " ".join(words)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _machine(found: Sequence[System]) -> str:
    """Return on what machine and with which versions this is."""
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    words = [f"{os.cpu_count()} cores of {model[1] if model else platform.machine()}"]
    words += [platform.freedesktop_os_release()["PRETTY_NAME"], f"Python {platform.python_version()}"]
    for database in filter(None, (system.database for system in found[:4])):
        version = database.watcher.info.parameter_status("server_version")
        return ", ".join([*words, f"PostgreSQL {version}"])
    return ", ".join(words)


def _versions(found: Sequence[System]) -> dict[str, str]:
    """Return the versions of the peers that are measured."""
    names = {system.name for system in found}
    return {peer.name: peer.version() for peer in PEERS if peer.name in names}


if __name__ == "__main__":
    main()
