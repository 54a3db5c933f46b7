"""PostgreSQL databases for a run, and what their processes use."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import sqlalchemy as sa

from benchmarks.measuring import report

URL = os.environ.get("TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1/postgres")
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
    """Create a database and drop it afterwards; None when no PostgreSQL answers."""
    try:
        admin = connected()
    except psycopg.OperationalError:
        shown = sa.make_url(URL).render_as_string()
        report(f"no PostgreSQL at {shown} (TEST_POSTGRESQL_URL): left out")
        yield None
        return
    name = f"tessera_bench_{uuid.uuid4().hex[:12]}"
    with admin:
        create(admin, name)
        try:
            with watched(url_of(name)) as database:
                yield database
        finally:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def create(admin: Connection, name: str) -> None:
    """Create a database without parallel workers, whose time nobody could tell from that of autovacuum."""
    admin.execute(f'CREATE DATABASE "{name}"'.encode())
    admin.execute(f'ALTER DATABASE "{name}" SET max_parallel_workers_per_gather = 0'.encode())


def connected() -> Connection:
    """Return a connection to the server, for what concerns no single database."""
    url = sa.make_url(URL).set(drivername="postgresql")
    return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True, connect_timeout=2)


def url_of(name: str) -> str:
    """Return the URL of a database of the server."""
    url = sa.make_url(URL).set(drivername="postgresql", database=name)
    return url.render_as_string(hide_password=False)
