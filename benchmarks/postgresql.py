"""PostgreSQL databases for a run, and what their processes use."""

import atexit
import os
import secrets
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psycopg
import sqlalchemy as sa

from benchmarks.failures import Failed
from benchmarks.measuring import START_SECONDS, end_with_parent, free_port, report
from tests.services import POSTGRESQL

STORAGES = ("SQLite", "PostgreSQL")
URL = POSTGRESQL.url()
BACKENDS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type = 'client backend'"
)
Connection = psycopg.Connection[tuple[int]]


class Database:
    """A database; `url` holds its password, and `watcher` is a connection that is not measured."""

    def __init__(self, url: str, watcher: Connection) -> None:
        self.url = url
        self.watcher = watcher
        self._used = 0.0
        self._seen: dict[int, float] = {}

    def cpu(self) -> float | None:
        """Return the microseconds that the processes of its connections have used, as far as they were seen.

        None where they cannot be: PostgreSQL is on another machine, or in a container.
        """
        try:
            now = {pid: _cpu_of(pid) for (pid,) in self.watcher.execute(BACKENDS)}
        except OSError:
            return None
        self._used += sum(used - self._seen.get(pid, 0) for pid, used in now.items())
        self._seen = now
        return self._used


def _cpu_of(pid: int) -> float:
    """Return the microseconds of a process with one thread, finer than in ticks; raises OSError."""
    if Path(f"/proc/{pid}/comm").read_text().strip() not in ("postgres", "postmaster"):
        raise ProcessLookupError(pid)
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1000


@contextmanager
def watched(url: str) -> Iterator[Database]:
    """Open a database that there is."""
    with psycopg.connect(url, autocommit=True) as watcher:
        yield Database(url, watcher)


@contextmanager
def own_database() -> Iterator[Database | None]:
    """Create a database and drop it afterwards; None without a PostgreSQL server."""
    if (server := server_url()) is None:
        yield None
        return
    name = f"tessera_bench_{uuid.uuid4().hex[:12]}"
    with connect(server) as admin:
        create(admin, name)
        try:
            with watched(_with_database(server, name)) as database:
                yield database
        finally:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def create(admin: Connection, name: str) -> None:
    """Create a database without parallel workers, whose time nobody could tell from that of autovacuum."""
    admin.execute(f'CREATE DATABASE "{name}"'.encode())
    admin.execute(f'ALTER DATABASE "{name}" SET max_parallel_workers_per_gather = 0'.encode())


def url_of(name: str) -> str:
    """Return the URL of a database of the server at URL, which outlives this run."""
    return _with_database(URL, name)


def _with_database(server: str, name: str) -> str:
    url = sa.make_url(server).set(drivername="postgresql", database=name)
    return url.render_as_string(hide_password=False)


def connect(server: str) -> Connection:
    """Return a connection to the server at a URL; raises psycopg.OperationalError if none answers."""
    url = sa.make_url(server).set(drivername="postgresql")
    return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True, connect_timeout=2)


@cache
def server_url() -> str | None:
    """Return the URL of the PostgreSQL server of this run; None, with a report why, if there is none.

    It is the one that the tests use. If TEST_POSTGRESQL_URL is not set and none answers, a private server is
    started where PostgreSQL is installed, and removed when this process ends.
    """
    shown = sa.make_url(URL).render_as_string()
    try:
        connect(URL).close()
    except psycopg.OperationalError:
        if "TEST_POSTGRESQL_URL" not in os.environ and (programs := installed_programs()) is not None:
            report(f"No PostgreSQL answers at {shown}: starting a private one.")
            return _start(programs)
        report(f"No PostgreSQL answers at {shown} (TEST_POSTGRESQL_URL): it is left out.")
        return None
    return URL


def installed_programs() -> Path | None:
    """Return the folder of the newest server programs that are installed; Debian has them on no PATH."""
    if (found := shutil.which("initdb")) is not None:
        return Path(found).resolve().parent
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(installed, key=lambda path: float(path.parts[-3]), default=None)
    return None if newest is None else newest.parent


def _start(programs: Path) -> str:
    """Start a server with its data in a folder of its own, and return its URL.

    The programs reject root, so root runs them as the user `postgres` of the package.
    """
    folder, password, port = Path(mkdtemp(prefix="tessera-postgresql-")), secrets.token_hex(16), free_port()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "password").write_text(password)
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres", "postgres")
    data, log = folder / "data", (folder / "log").open("wb")
    options = [
        "-D",
        str(data),
        "-U",
        "postgres",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
    ]
    initdb = [str(programs / "initdb"), *options, f"--pwfile={folder / 'password'}"]
    try:
        subprocess.run(initdb, cwd=folder, stdout=log, stderr=log, check=True, **user)
    except subprocess.CalledProcessError:
        raise Failed(f"initdb failed: {(folder / 'log').read_text()}") from None
    settings = [f"-p{port}", f"-k{folder}", "-clisten_addresses=127.0.0.1"]
    command = [str(programs / "postgres"), "-D", str(data), *settings]
    process = subprocess.Popen(
        command, cwd=folder, stdout=log, stderr=log, preexec_fn=end_with_parent, **user
    )
    atexit.register(_stop, process)
    url = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
    _wait_for(url, process, folder / "log")
    return url


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            connect(url).close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"PostgreSQL did not start: {log.read_text()}") from None
            time.sleep(0.05)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGINT)  # a fast shutdown: it ends the connections
    process.wait(START_SECONDS)
