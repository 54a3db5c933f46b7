"""Selects that every request asks: SQLAlchemy writes them once, and the driver runs them.

What SQLAlchemy does around each execution costs more than what SQLite takes to answer. Whatever is not plain,
an error, a connection that died, somebody who listens to statements, is left to SQLAlchemy
(docs/adr/0015-speed.md).
"""

from collections import namedtuple
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from api.kit.db import READING, db, is_of_database, unasked

Processor = Callable[[Any], Any]


class Query:
    """A select of at most one row."""

    def __init__(self, statement: sa.Select[*tuple[Any, ...]]) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def one_or_none(self, parameters: Mapping[str, Any]) -> Any:
        """Return the row, whose columns are attributes, or None."""
        engine = db.engines[READING]
        if not (engine.dispatch.before_cursor_execute or engine.dispatch.after_cursor_execute):
            try:
                return self._on(engine.dialect).run(engine, parameters)
            except Exception as error:
                if not is_of_database(error):
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
        token = unasked.set(True)
        try:
            pooled = engine.raw_connection()
        finally:
            unasked.reset(token)
        try:
            row = self._fetch(pooled.driver_connection, self._bound(parameters))
        finally:
            pooled.close()
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
