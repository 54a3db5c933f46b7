"""The databases that the tests run on: SQLite always, PostgreSQL where a server answers."""

import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from api.kit.db import Base
from api.kit.migrations import OWN, upgrade
from tests.services import POSTGRESQL

KINDS = ("sqlite", "postgresql")
EACH = (pytest.param("sqlite"), pytest.param("postgresql", marks=pytest.mark.needs("PostgreSQL")))
# A test that uses a database runs on each of KINDS. These marks, of a test or a module, choose one of them:
# for what only one database has, or for code that no database takes part in.
ON_SQLITE = pytest.mark.database("sqlite")
ON_POSTGRESQL = pytest.mark.database("postgresql")
ON_EACH = pytest.mark.database(*KINDS)  # in a module that is marked otherwise
TRAIL = "audit_"  # how the names of the audit trail's tables begin


def parameter_of(kind: str) -> Any:
    """Return the parameter of EACH for a kind of database, with what it needs."""
    return EACH[KINDS.index(kind)]


@contextmanager
def fresh(kind: str, folder: Path, *, migrated: bool = True) -> Iterator[str]:
    """Yield the URL of a new database of a kind, migrated unless told otherwise."""
    manager = _sqlite(folder) if kind == "sqlite" else _postgresql()
    with manager as url:
        if migrated:
            upgrade(sa.make_url(driver_url(url)), [OWN])
        yield url


def driver_url(url: str) -> str:
    """Return the URL as SQLAlchemy takes it."""
    return url.replace("postgresql://", "postgresql+psycopg://")


def wipe(engine: sa.Engine, *, keys: bool = False) -> None:
    """Remove every row, but unless told so the signing keys and the audit trail with them.

    Running services know the keys, and the trail is guarded: its tests empty it themselves.
    """
    with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            if not table.name.startswith(TRAIL) and (keys or table.name != "signing_keys"):
                connection.execute(table.delete())
    if keys:
        wipe_trail(engine)


def freeze(engine: sa.Engine, table: str) -> None:
    """Let no statement change the rows of a table: it fails in every service on the database."""
    with engine.begin() as connection:
        for statement in _FREEZING[engine.dialect.name]:
            connection.exec_driver_sql(statement.format(table))


_FREEZING = {
    "sqlite": [
        f"CREATE TRIGGER {{0}}_frozen_{event.lower()} BEFORE {event} ON {{0}} "
        "BEGIN SELECT RAISE(ABORT, 'tests share these rows: use a database of your own'); END"
        for event in ("INSERT", "UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE FUNCTION {0}_frozen() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE 'tests share these rows: use a database of your own'; END$$",
        "CREATE TRIGGER {0}_frozen BEFORE INSERT OR UPDATE OR DELETE ON {0} "
        "FOR EACH STATEMENT EXECUTE FUNCTION {0}_frozen()",
    ],
}


def wipe_trail(engine: sa.Engine) -> None:
    """Remove every row of the audit trail."""
    with unguarded(engine) as connection:
        for table in Base.metadata.sorted_tables:
            if table.name.startswith(TRAIL):
                connection.execute(table.delete())


@contextmanager
def unguarded(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Yield a connection on which nothing guards the trail, as whoever owns the database may have one."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
            yield connection
            return
        guards = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE :trail"
        triggers = connection.execute(sa.text(guards), {"trail": f"{TRAIL}%"})
        definitions = {row.name: row.sql for row in triggers}
        for name in definitions:
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        yield connection
        for sql in definitions.values():
            connection.exec_driver_sql(sql)


def refuse_to_open(event: str, args: tuple[Any, ...]) -> None:
    """Refuse, as an audit hook, that Python opens a file of an SQLite database: see `read_apart`."""
    if event == "open" and re.search(r"/.*\.db(-wal|-shm)?$", str(args[0])):
        raise AssertionError(f"{args[0]} would lose the locks that SQLite has on it: use read_apart")


def read_apart(file: Path) -> bytes:
    """Return what a file of an SQLite database holds, read by another process.

    Closing it in this one would give up the locks that SQLite has on it here (fcntl(2)): another process
    then takes its log for its own, and removes it.
    """
    return subprocess.run(["cat", str(file)], capture_output=True, check=True).stdout


@contextmanager
def _sqlite(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder / f'{secrets.token_hex(4)}.db'}"


@contextmanager
def _postgresql() -> Iterator[str]:
    name = f"tessera_test_{secrets.token_hex(4)}"
    server = sa.create_engine(
        driver_url(POSTGRESQL.url()), isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 10}
    )
    _run(server, f"CREATE DATABASE {name}")
    _run(server, f"ALTER DATABASE {name} SET synchronous_commit = off")  # no test cuts the power
    try:
        yield server.url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    finally:
        _run(server, f"DROP DATABASE {name} WITH (FORCE)")
        server.dispose()


def _run(server: sa.Engine, statement: str) -> None:
    with server.connect() as connection:
        connection.execute(sa.text(statement))
