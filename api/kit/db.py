"""The database: models' base class, engine settings, and which constraint a row broke."""

import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from select import POLLIN, poll
from typing import Any, cast
from uuid import UUID

import orjson
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as FlaskSession
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.orm import DeclarativeBase, registry

from api.kit import sqlite
from api.kit.config import DATABASE_URL, THREADS
from api.kit.driver_errors import STALE, is_stale
from api.kit.problems import Problem
from api.kit.settings import Settings

OPERATION_TIMEOUT = 2  # seconds that a statement, or the wait for a connection, may take
READING = "reading"  # bind key of the engine that reads, on connections of its own
_NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


# Read-only and idle transactions, serialization, resources, shutdown, the system (PostgreSQL, appendix A).
# And a statement that was prepared before a column had another type.
_PASSING = ("25006", "25P03", "40", "53", "55P03", "57P", "58", STALE)


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An instant, to the microsecond: aware in Python, UTC in the database."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        return datetime

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], Any] | None:
        """Write SQLite's texts at once, as `result_processor` reads them."""
        return _text_of if dialect.name == "sqlite" else super().bind_processor(dialect)

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else _in_utc(value)

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Read SQLite's texts at once: SQLAlchemy's way, and ours after it, take thrice the time."""
        return _instant_of if dialect.name == "sqlite" else super().result_processor(dialect, coltype)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value if value is None else value.astimezone(UTC)


def _in_utc(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError("an instant needs its time zone")
    return instant.astimezone(UTC)


def _text_of(instant: datetime | None) -> str | None:
    return None if instant is None else _in_utc(instant).isoformat(" ", "microseconds")[: -len("+00:00")]


def _instant_of(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(f"{text}+00:00")


Json = sa.JSON()  # text on PostgreSQL too: JSONB writes 1e300 out, as an integer that JSON cannot keep


class Base(DeclarativeBase):
    """The base of every model."""

    registry = registry(
        metadata=sa.MetaData(naming_convention=_NAMING),
        type_annotation_map={
            datetime: UtcDateTime(),
            UUID: sa.Uuid(),
            dict[str, Any]: Json,
            list[str]: Json,
        },
    )


is_reading: ContextVar[bool] = ContextVar("tessera.is_reading", default=False)


class UnitSession(FlaskSession):
    """A session that reads without a transaction while `is_reading`.

    Under AUTOCOMMIT a statement of PostgreSQL costs one round trip in place of three, and sees
    what READ COMMITTED would show it.
    """

    def get_bind(self, *args: Any, **kwargs: Any) -> Any:
        if is_reading.get():
            return db.engines[READING]
        return super().get_bind(*args, **kwargs)


db = SQLAlchemy(
    metadata=Base.metadata,
    session_options={"class_": UnitSession, "expire_on_commit": False},
)


def init_database(app: Flask, settings: Settings) -> None:
    """Connect the app to the database that the settings name."""
    url = sa.make_url(settings[DATABASE_URL])
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options = engine_options(url, settings[THREADS] // 6)
    db.init_app(app)
    with app.app_context():
        prepare(db.engine)
        cast("dict[str | None, sa.Engine]", db.engines)[READING] = _reading_engine(url, options)


def dispose() -> None:
    """Close the connections of the current app."""
    for engine in db.engines.values():
        engine.dispose()


def engine_options(url: sa.URL, connections: int) -> dict[str, Any]:
    """Return `create_engine` arguments: bounded waits, and at most so many connections."""
    pool: dict[str, Any] = {
        "hide_parameters": True,
        "json_deserializer": orjson.loads,
        "pool_size": connections,
        "max_overflow": 0,
        "pool_timeout": OPERATION_TIMEOUT,
        "pool_use_lifo": True,  # what it has planned and read is at hand in the one that was used last
    }
    if url.get_backend_name() == "sqlite":
        return pool | {"connect_args": {"timeout": sqlite.BUSY_TIMEOUT, "check_same_thread": False}}
    milliseconds = OPERATION_TIMEOUT * 1000
    bounds = f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
    bounds += f" -c idle_in_transaction_session_timeout={milliseconds * 5} -c timezone=UTC"
    return pool | {
        "connect_args": {
            "connect_timeout": OPERATION_TIMEOUT,
            "tcp_user_timeout": milliseconds,
            "keepalives_idle": OPERATION_TIMEOUT,
            "keepalives_interval": 1,
            "keepalives_count": OPERATION_TIMEOUT,
            "options": bounds,
        },
    }


def prepare(engine: sa.Engine) -> None:
    """Do what an engine needs besides its options."""
    if engine.dialect.name == "sqlite":
        sqlite.prepare(engine)
    else:
        sa.event.listen(engine, "checkout", partial(_ping, engine.dialect))
        sa.event.listen(engine, "handle_error", _replace_stale)


def _ping(dialect: sa.Dialect, connection: Any, record: Any, _proxy: object) -> None:
    """Let the pool replace a connection that died before it is used, and all that are as old.

    A server that ends a connection says so, or closes it: only where there is something to read a round
    trip tells what. Whoever comes next does not have to find out again. A new one is taken as it is: of those
    that die at once the pool would try two, and raise what is no error of a database.
    """
    if "taken" not in record.info:
        record.info["taken"] = True
        return
    try:
        if _has_word(connection):
            dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise sa.exc.InvalidatePoolError from error


def _replace_stale(context: sa.engine.ExceptionContext) -> None:
    """Have all connections made anew: a prepared statement that is out of date stays so for good."""
    if is_stale(context.original_exception):
        context.is_disconnect = True


def _has_word(connection: Any) -> bool:
    """Tell whether the server sent something unasked, or closed the connection."""
    socket = poll()
    socket.register(connection.fileno(), POLLIN)
    return bool(socket.poll(0))


def _reading_engine(url: sa.URL, options: Mapping[str, Any]) -> sa.Engine:
    """Return an engine whose connections no writer holds, and which begins no transactions."""
    if url.get_backend_name() == "postgresql":
        options = {**options, "isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}
    engine = sa.create_engine(url, **options)
    prepare(engine)
    return engine.execution_options(reading=True)


def is_unavailable(error: DBAPIError) -> bool:
    """Tell whether the database could not answer, rather than the statement being at fault."""
    sqlstate = getattr(error.orig, "sqlstate", None) or ""
    if isinstance(error, OperationalError | InterfaceError) or sqlstate.startswith(_PASSING):
        return True
    return lacks_tables(error)


def is_of_database(error: BaseException) -> bool:
    """Tell whether an error is a driver's own, or SQLAlchemy's about one."""
    psycopg = sys.modules.get("psycopg")  # where PostgreSQL is not used, nothing imports it
    drivers = (sqlite3.Error, psycopg.Error) if psycopg else (sqlite3.Error,)
    return isinstance(error, (DBAPIError, *drivers))


def cause(error: DBAPIError) -> str:
    """Return why the database could not answer; such errors, unlike others, quote no rows."""
    lines = str(error.orig).splitlines() or [""]
    return f"{type(error.orig).__name__}: {lines[0]}"


def lacks_tables(error: DBAPIError) -> bool:
    """Tell whether a statement failed because the database is not migrated."""
    undefined = ("42P01", "42703")  # table, column (PostgreSQL, appendix A)
    if isinstance(error.orig, sqlite3.Error):
        return "no such " in str(error.orig)
    return getattr(error.orig, "sqlstate", None) in undefined


def among(column: Any, values: Iterable[Any]) -> sa.ColumnElement[bool]:
    """Return the condition that a column has one of any number of values, as one parameter."""
    if db.engine.dialect.name == "postgresql":
        listed = sa.bindparam(None, list(values), sa.ARRAY(column.type))
        return cast("sa.ColumnElement[bool]", column == sa.any_(listed))
    texts = [value.hex if isinstance(value, UUID) else value for value in values]
    table = sa.func.json_each(orjson.dumps(texts).decode()).table_valued("value")
    return cast("sa.ColumnElement[bool]", column.in_(sa.select(table.c.value)))


@contextmanager
def refusing_duplicates(problems: Mapping[str, type[Problem]]) -> Iterator[None]:
    """Turn a broken unique constraint into the problem of its name; the index is the judge."""
    try:
        yield
        db.session.flush()
    except IntegrityError as error:
        problem = problems.get(broken_constraint(error))
        if problem is None:
            raise
        raise problem() from error


def broken_constraint(error: IntegrityError) -> str:
    """Return the name of the constraint that a statement broke, by our naming convention."""
    if isinstance(error.orig, sqlite3.IntegrityError):
        columns = str(error.orig).rpartition(": ")[2]  # "UNIQUE constraint failed: t.a, t.b"
        table = columns.partition(".")[0]
        return f"uq_{columns.replace(f'{table}.', f'{table}_', 1).replace(f', {table}.', '_')}"
    return getattr(getattr(error.orig, "diag", None), "constraint_name", None) or ""
