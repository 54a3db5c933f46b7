"""Bringing the database's tables to what the code expects.

Alembic is imported by the functions that use it: it takes a fifth of the start of a command, and only
migrating needs it.
"""

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

import migrations
from api.kit.db import engine_options, prepare
from api.kit.feature import Feature, Migrations

if TYPE_CHECKING:
    from alembic.config import Config

_HOME = Path(migrations.__file__).parent
OWN = Migrations(_HOME / "versions", "alembic_version")
_WAIT_SECONDS = 60  # for another migration of an SQLite file
_LOCK = 0x7E55E4A  # of PostgreSQL's advisory locks: one migration at a time


class MigrationError(Exception):
    """The migrations do not fit the database, or each other."""


def histories(features: Iterable[Feature]) -> list[Migrations]:
    """Return Tessera's own migrations, then those of features from outside."""
    return [OWN, *(feature.migrations for feature in features if feature.migrations)]


def upgrade(url: sa.URL, wanted: Iterable[Migrations]) -> None:
    """Bring the database up to date; of several processes at once, one does it.

    Raises MigrationError when the migrations do not fit.
    """
    from alembic import command

    with _one_at_a_time(url) as connection, _refusals():
        for history in wanted:
            command.upgrade(configuration(history, connection), "heads")


def behind(connection: sa.Connection, wanted: Iterable[Migrations]) -> list[str]:
    """Return the version tables that are not where the code expects them."""
    return [h.version_table for h in wanted if _current(connection, h) != _expected(h)]


def behind_at(url: sa.URL, wanted: Iterable[Migrations]) -> list[str]:
    """Return the same of a database that nothing is connected to yet, and make none by asking."""
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return [history.version_table for history in wanted]
    engine = sa.create_engine(url, **engine_options(url, connections=1))
    try:
        with engine.connect() as connection:
            return behind(connection, wanted)
    finally:
        engine.dispose()


def configuration(history: Migrations, connection: sa.Connection) -> "Config":
    """Return what Alembic's commands need to work on one history."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", _escaped(_HOME))
    config.set_main_option("version_locations", _escaped(history.folder))
    config.set_main_option("path_separator", "newline")
    config.attributes |= {"connection": connection, "version_table": history.version_table}
    return config


def _escaped(path: Path) -> str:
    """Return a path as ConfigParser takes it."""
    return str(path).replace("%", "%%")


@contextmanager
def _refusals() -> Iterator[None]:
    """Raise MigrationError for what Alembic refuses to do."""
    from alembic.util import CommandError

    try:
        yield
    except CommandError as error:
        raise MigrationError(str(error)) from error


@contextmanager
def _one_at_a_time(url: sa.URL) -> Iterator[sa.Connection]:
    """Yield a connection of its own; SQLite's transactions exclude each other as it is."""
    engine = sa.create_engine(url, **engine_options(url, connections=1))
    prepare(engine)
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                # The wait for the lock has no bound; later ones, for tables in use, have.
                connection.execute(sa.text("SET statement_timeout = 0; SET lock_timeout = 0"))
                connection.execute(sa.text(f"SELECT pg_advisory_lock({_LOCK})"))
                connection.execute(sa.text("SET lock_timeout = '10s'"))
            else:
                connection.execute(sa.text(f"PRAGMA busy_timeout = {_WAIT_SECONDS * 1000}"))
            connection.commit()
            yield connection
    finally:
        engine.dispose()


def _current(connection: sa.Connection, history: Migrations) -> set[str]:
    if not sa.inspect(connection).has_table(history.version_table):
        return set()
    table = sa.table(history.version_table, sa.column("version_num"))
    return set(connection.scalars(sa.select(table.c.version_num)))


@cache
def _expected(history: Migrations) -> frozenset[str]:
    """Return the revisions that no other follows; their scripts are read and not run, as Alembic would."""
    scripts = [_said_by(path) for path in history.folder.glob("*.py")]
    revisions = {script["revision"] for script in scripts if "revision" in script}
    followed = {before for script in scripts for before in _names(script.get("down_revision"))}
    return frozenset(revisions - followed)


def _said_by(script: Path) -> dict[str, Any]:
    """Return what a script says that it is, and what it follows."""
    found: dict[str, Any] = {}
    for node in ast.parse(script.read_bytes()).body:
        match node:
            case ast.Assign([ast.Name(id=name)], value) | ast.AnnAssign(
                ast.Name(id=name), value=ast.expr() as value
            ):
                if name in ("revision", "down_revision"):
                    found[name] = ast.literal_eval(value)
    return found


def _names(down_revision: str | Iterable[str] | None) -> Iterable[str]:
    return [down_revision] if isinstance(down_revision, str) else down_revision or ()
