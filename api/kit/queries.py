"""Selects that every request asks: SQLAlchemy writes them once, and the driver runs them.

What SQLAlchemy does around each execution costs more than what SQLite takes to answer. Whatever is not plain,
a connection that died, somebody who listens to statements, is left to SQLAlchemy (docs/adr/0015-speed.md).
"""

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from api.kit.db import READING, db, unasked

Processor = Callable[[Any], Any]


class Query:
    """A select of at most one row."""

    def __init__(self, statement: sa.Select[*tuple[Any, ...]]) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def one_or_none(self, parameters: Mapping[str, Any]) -> Any:
        """Return the row, whose columns are attributes, or None; raises SQLAlchemy's errors."""
        engine = db.engines[READING]
        if not (engine.dispatch.before_cursor_execute or engine.dispatch.after_cursor_execute):
            try:
                return self._on(engine.dialect).run(engine, parameters)
            except sa.exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
        with engine.connect() as connection:
            return connection.execute(self._statement, parameters).one_or_none()

    def _on(self, dialect: sa.Dialect) -> "_Compiled":
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = _Compiled(self._statement, dialect)
        return found


class _Compiled:
    """A select as one dialect says it, and how its values go to the driver and come from it."""

    def __init__(self, statement: sa.Select[*tuple[Any, ...]], dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self._sql = str(compiled)
        self._order = compiled.positiontup if compiled.positional else None
        self._fixed = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        self._binders = {
            name: process
            for name, bind in compiled.binds.items()
            if (process := bind.type.dialect_impl(dialect).bind_processor(dialect))
        }
        columns = list(statement.selected_columns)
        self._row: Any = namedtuple("Row", [str(column.key) for column in columns])  # type: ignore[misc]  # made here
        readers = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        self._readers = [(place, read) for place, read in enumerate(readers) if read is not None]

    def run(self, engine: sa.Engine, parameters: Mapping[str, Any]) -> Any:
        with _connection(engine) as connection:
            row = self._fetch(connection, self._bound(parameters))
        if row is None:
            return None
        values = list(row)
        for place, read in self._readers:
            values[place] = read(values[place])
        return self._row._make(values)

    def _bound(self, parameters: Mapping[str, Any]) -> Any:
        values = {**self._fixed, **parameters}
        for name, process in self._binders.items():
            values[name] = process(values[name])
        return values if self._order is None else [values[name] for name in self._order]

    def _fetch(self, connection: Any, parameters: Any) -> Any:
        """Return the first row, without a transaction, which would cost PostgreSQL two more round trips."""
        if self._order is not None:  # the driver of SQLite begins none
            return connection.execute(self._sql, parameters).fetchone()
        connection.autocommit = True
        try:
            return connection.execute(self._sql, parameters).fetchone()
        finally:
            connection.autocommit = False


@contextmanager
def _connection(engine: sa.Engine) -> Iterator[Any]:
    """Yield the driver's connection, unasked whether it lives; turns its errors into SQLAlchemy's."""
    driver_error, pooled, is_lost = engine.dialect.loaded_dbapi.Error, None, False
    token = unasked.set(True)
    try:
        pooled = engine.raw_connection()
        yield pooled.driver_connection
    except driver_error as error:
        connection = None if pooled is None else pooled.driver_connection
        is_lost = connection is not None and engine.dialect.is_disconnect(error, connection, None)
        raise sa.exc.DBAPIError.instance(
            None, None, error, driver_error, True, connection_invalidated=is_lost, dialect=engine.dialect
        ) from error
    finally:
        unasked.reset(token)
        if pooled is not None:
            (pooled.invalidate if is_lost else pooled.close)()
