"""Statements that many requests ask: SQLAlchemy writes them once, and the driver runs them.

What SQLAlchemy does around each execution costs more than what SQLite takes to answer. Whatever is not plain,
a connection that died, somebody who listens to statements, is left to SQLAlchemy (docs/adr/0015-speed.md).
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from api.kit import work
from api.kit.db import READING, db
from api.kit.driver_errors import as_sqlalchemy_has_it

Processor = Callable[[Any], Any]
Statement = sa.Select[*tuple[Any, ...]] | sa.UpdateBase | sa.TextualSelect


class Query:
    """A statement; of rows that it gives the columns are attributes."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def one_or_none(self, parameters: Mapping[str, Any]) -> Any:
        """Return the only row there is, or None, as `all` does."""
        return next(iter(self.all(parameters)), None)

    def all(self, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """Return the rows on a connection that is given back at once; raises SQLAlchemy's errors.

        A statement that writes is a transaction of its own, and may be repeated when its answer was lost.
        """
        engine = db.engines[READING]
        if not _is_heard(engine):
            try:
                return self._read(engine, parameters)
            except sa.exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
        with engine.connect() as connection:
            return connection.execute(self._statement, parameters).all()

    def _read(self, engine: sa.Engine, parameters: Mapping[str, Any]) -> Sequence[Any]:
        dialect = engine.dialect
        try:
            pooled = engine.raw_connection()
        except dialect.loaded_dbapi.Error as error:
            raise as_sqlalchemy_has_it(error, dialect, None) from error
        try:
            return self._on(dialect).run(pooled.driver_connection, parameters)
        except dialect.loaded_dbapi.Error as error:
            raised = as_sqlalchemy_has_it(error, dialect, pooled.driver_connection)
            if raised.connection_invalidated:
                pooled.invalidate()
            raise raised from error
        finally:
            pooled.close()

    def in_unit(self, parameters: Mapping[str, Any]) -> Any:
        """Return the only row, or None, as `all_in_unit` does."""
        return next(iter(self.all_in_unit(parameters)), None)

    def all_in_unit(self, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """Return the rows within the unit of work that writes; raises SQLAlchemy's errors."""
        connection = work.connection()
        if _is_heard(connection.engine):
            result = connection.execute(self._statement, parameters)
            return result.all() if result.returns_rows else ()
        dialect, driver = connection.dialect, connection.connection.driver_connection
        try:
            return self._on(dialect).run(driver, parameters)
        except dialect.loaded_dbapi.Error as error:
            raise as_sqlalchemy_has_it(error, dialect, driver) from error

    def _on(self, dialect: sa.Dialect) -> "_Compiled":
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = _Compiled(self._statement, dialect)
        return found


class _Compiled:
    """A statement as one dialect says it, and how its values go to the driver and come from it."""

    def __init__(self, statement: Any, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self._sql = str(compiled)
        self._order = compiled.positiontup if compiled.positional else None
        self._fixed = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        self._binders = {
            name: process
            for name, bind in compiled.binds.items()
            if (process := bind.type.dialect_impl(dialect).bind_processor(dialect))
        }
        columns = list(statement.exported_columns)
        self._row: Any = namedtuple("Row", [str(column.key) for column in columns])  # type: ignore[misc]  # made here
        readers = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        self._readers = [(place, read) for place, read in enumerate(readers) if read is not None]

    def run(self, connection: Any, parameters: Mapping[str, Any]) -> list[Any]:
        """Return the rows, on a connection of the driver."""
        cursor = connection.execute(self._sql, self._bound(parameters))
        return [self._made(row) for row in cursor.fetchall()] if cursor.description else []

    def _made(self, row: Sequence[Any]) -> Any:
        values = list(row)
        for place, read in self._readers:
            values[place] = read(values[place])
        return self._row._make(values)

    def _bound(self, parameters: Mapping[str, Any]) -> Any:
        values = {**self._fixed, **parameters}
        for name, process in self._binders.items():
            values[name] = process(values[name])
        return values if self._order is None else [values[name] for name in self._order]


def _is_heard(engine: sa.Engine) -> bool:
    return bool(engine.dispatch.before_cursor_execute or engine.dispatch.after_cursor_execute)
