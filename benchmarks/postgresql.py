"""A PostgreSQL database of its own for one run."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import sqlalchemy as sa

from benchmarks.measuring import cpu_of, report

URL = os.environ.get("TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1/postgres")


@dataclass(frozen=True)
class Database:
    """A database; `url` holds its password."""

    url: str

    def cpu(self) -> dict[int, float] | None:
        """Return the microseconds that each process serving a connection has used, by its id.

        None where the processes cannot be seen: PostgreSQL is on another machine, or in a container.
        """
        with psycopg.connect(self.url, autocommit=True) as connection:
            query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"
            pids = [row[0] for row in connection.execute(query, [connection.info.backend_pid])]
        found = {pid: cpu_of(pid) for pid in pids if _is_postgresql(pid)}
        return found if len(found) == len(pids) else None


def _is_postgresql(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() in ("postgres", "postmaster")
    return False


@contextmanager
def own_database() -> Iterator[Database | None]:
    """Create a database and drop it afterwards; None when no PostgreSQL answers."""
    url = sa.make_url(URL).set(drivername="postgresql")
    name = f"tessera_bench_{uuid.uuid4().hex[:12]}"
    try:
        admin = psycopg.connect(_text(url), autocommit=True, connect_timeout=2)
    except psycopg.OperationalError:
        report(f"no PostgreSQL at {url.render_as_string()} (TEST_POSTGRESQL_URL): left out")
        yield None
        return
    with admin:
        admin.execute(f'CREATE DATABASE "{name}"'.encode())
        try:
            yield Database(_text(url.set(database=name)))
        finally:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def _text(url: sa.URL) -> str:
    return url.render_as_string(hide_password=False)
