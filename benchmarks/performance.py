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
random order, at each workload, in random order: trust the ratios within a run. A wrong answer ends it.
Then one process of Tessera and two answer on all cores, the load made by wrk where it is installed. Progress
goes to stderr, a table to stdout; the tables, every figure and a plot go to a folder.
"""

import argparse
import os
import platform
import random
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import TypeVar

from api.kit.hashing import Argon2id
from benchmarks import tessera
from benchmarks.figures import Figure, Record, Run
from benchmarks.measuring import ROOT, Server, measure, report, two_cores
from benchmarks.peers.apps.common import ARGON2, PASSWORD, USERS
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.dialects import BareRoute
from benchmarks.publishing import publish
from benchmarks.systems import ADMINISTRATOR, BARE, OURS, System, sign_in
from benchmarks.throughput import answered_by, load_generator
from benchmarks.workloads import WORKLOADS

FOLDER = ROOT / "docs" / "performance"
SERVE_BARE = (
    "from api.kit.server import serve; serve('benchmarks.peers.apps.bare_flask:make_app', port={port})"
)
Item = TypeVar("Item")


@contextmanager
def systems(only: Sequence[str]) -> Iterator[list[System]]:
    """Yield all that is to be measured, Tessera first."""

    def wanted(name: str) -> bool:
        return not only or any(part.lower() in name.lower() for part in only)

    with ExitStack() as stack:
        found = stack.enter_context(tessera.filled(USERS)) if wanted(OURS) else []
        if wanted(BARE):
            command = ("-c", SERVE_BARE)
            found.append(System(BARE, "", BareRoute(), command, {"PATH": os.environ["PATH"]}, "/me", hash=""))
        for peer in PEERS:
            if wanted(peer.name):
                found += stack.enter_context(peer.systems())
        yield found


def measure_costs(run: Run, found: Sequence[System], rounds: int, seconds: float) -> None:
    """Measure what every workload costs everybody, the servers on one core and the clients on another."""
    cores = os.sched_getaffinity(0)
    server_core, client_core = two_cores()
    records = {system: Record(system.name, system.storage, system.hash) for system in found}
    run.records += records.values()
    os.sched_setaffinity(0, {client_core})
    for number in range(rounds):
        report(f"round {number + 1} of {rounds}")
        measure_round(records, run.hash_us, server_core, seconds)
    os.sched_setaffinity(0, cores)


def measure_throughput(run: Run, found: Sequence[System], rounds: int, seconds: float) -> None:
    """Measure what one process of Tessera and two answer on all cores."""
    services = [system for system in found if system.name == OURS]
    for _ in range(rounds):
        for system, processes in shuffled(product(services, (1, 2))):
            run.throughput.append(answered_by(system, processes, seconds))
            rate = run.throughput[-1].requests_per_second
            report(f"{system}, processes: {processes}, requests a second: {rate:,.0f}")


def measure_round(records: Mapping[System, Record], hashes: list[float], core: int, seconds: float) -> None:
    """Start every system, ask each for all that it offers, and note what that cost."""
    with ExitStack() as stack:
        servers = {}
        for system in shuffled(records):
            servers[system] = stack.enter_context(system.started(core))
            _note_start(records[system], servers[system])
            if "sign-in" in system.dialect.offers:  # some import modules now, and fail if two do so at once
                sign_in(servers[system], system.dialect, ADMINISTRATOR)
        for workload in shuffled(WORKLOADS):
            if workload == "sign-in":
                hashes.append(hash_cost(core, seconds))
            for system in shuffled(records):
                if workload in system.dialect.offers:
                    with naming(system, workload, servers[system]):
                        figure = _measured(system, servers[system], workload, seconds)
                    records[system].workloads.setdefault(workload, []).append(figure)
        for system, server in servers.items():
            records[system].loaded_mib.append(server.memory())


def shuffled(items: Iterable[Item]) -> list[Item]:
    """Return items in random order."""
    found = list(items)
    return random.sample(found, len(found))


def _note_start(record: Record, server: Server) -> None:
    server.settle()
    record.start_ms.append(server.start * 1000)
    record.idle_mib.append(server.memory())
    report(f"{record}: started in {record.start_ms[-1]:,.0f} ms")


def _measured(system: System, server: Server, workload: str, seconds: float) -> Figure:
    dialogues = WORKLOADS[workload](server, system.dialect)
    database_cpu = system.database.cpu if system.database else lambda: None
    figure = Figure.of(measure(server, dialogues, seconds, database_cpu))
    report(f"{workload}: {system}: {figure.us:,.0f} us")
    return figure


@contextmanager
def naming(system: System, what: str, server: Server) -> Iterator[None]:
    """Say at what the run was when it ended, and what the server said."""
    try:
        yield
    except (SystemExit, OSError) as end:
        sys.exit(f"{system}: {what}: {end}\n{server.said()}")


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


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.performance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="of all workloads, in random order (%(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of load a round and workload (%(default)s)"
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="NAMES",
        help="systems with one of these, separated by commas, in their names",
    )
    parser.add_argument(
        "--to", type=Path, default=FOLDER, metavar="FOLDER", help="where to write (docs/performance)"
    )
    options = parser.parse_args()
    with systems([part for part in options.only.split(",") if part]) as found:
        run = Run(_today(), _command(options), _machine(found), _versions(found), load_generator())
        measure_costs(run, found, options.rounds, options.seconds)
        measure_throughput(run, found, options.rounds, options.seconds * 2)
    print(publish(run, options.to))


def _command(options: argparse.Namespace) -> str:
    only = f" --only '{options.only}'" if options.only else ""
    return f"python -m benchmarks.performance --rounds {options.rounds} --seconds {options.seconds:g}{only}"


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
