"""The unit of work: the one place that commits."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from api.kit.db import READING, db, is_reading
from api.kit.logger import get_logger
from api.kit.problems import Problem

log = get_logger(source="tessera.work")


class _Unit:
    """A unit of work that writes: it takes its connection from its session once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._connection: sa.Connection | None = None

    def connection(self) -> sa.Connection:
        self._session.flush()
        if self._connection is None or not self._connection.in_transaction():
            self._connection = self._session.connection()
        return self._connection


_writing: ContextVar[_Unit | sa.Connection | None] = ContextVar("tessera.writing", default=None)


@contextmanager
def reading() -> Iterator[None]:
    """Read without a transaction of our own.

    Within a unit that has begun, it is part of that unit. Before a writing unit has begun, it is
    a look beforehand: afterwards no connection is held, so that slow work may follow.
    """
    if is_reading.get() or _is_writing():
        yield
        return
    token = is_reading.set(True)
    try:
        yield
    finally:
        is_reading.reset(token)
        if db.session.registry.has():
            db.session().close()


def _is_writing() -> bool:
    return db.session.registry.has() and db.session().in_transaction()


def read_one(statement: sa.Select[*tuple[Any, ...]], parameters: Mapping[str, Any]) -> sa.Row[Any] | None:
    """Return the one row that a statement finds, or None, on a connection that is given back at once.

    Half the cost of the session's way: for what every request asks.
    """
    with db.engines[READING].connect() as connection:
        return connection.execute(statement, parameters).one_or_none()


def read_all(
    statement: sa.Select[*tuple[Any, ...]], parameters: Mapping[str, Any] | None = None
) -> Sequence[sa.Row[Any]]:
    """Return every row that a statement finds, on a connection that is given back at once."""
    with db.engines[READING].connect() as connection:
        return connection.execute(statement, parameters or {}).all()


def planned(statement: sa.Select[Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return PostgreSQL's plan of a statement, which is not run: EXPLAIN's `Plan`, as JSON."""
    with db.engines[READING].connect() as connection:
        compiled = statement.compile(connection)
        values = compiled.construct_params(dict(parameters))
        [found] = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {compiled}", values).scalar_one()
    plan: dict[str, Any] = found["Plan"]
    return plan


@contextmanager
def apart() -> Iterator[sa.Connection]:
    """Write in a short transaction of its own, before a unit of work has begun to write."""
    with db.engine.begin() as connection:
        token = _writing.set(connection)
        try:
            yield connection
        finally:
            _writing.reset(token)


def connection() -> sa.Connection:
    """Return the connection that writes, of the transaction apart that is open or of the unit of work.

    What the unit's session still holds back is written before. Raises PendingRollbackError in a unit in which
    writing failed.
    """
    found = _writing.get() or _Unit(db.session())
    return found.connection() if isinstance(found, _Unit) else found


def note(statement: sa.Update | sa.Delete, parameters: Mapping[str, Any]) -> None:
    """Carry out one statement apart, before a unit of work has begun to write.

    It is a note that does without: when the database cannot take it now, that is logged.
    """
    try:
        with apart() as connection:
            connection.execute(statement, parameters)
    except (DBAPIError, PoolTimeout) as error:
        log.warning("note_not_taken", cause=type(error).__name__)


def in_turn(name: str) -> None:
    """Wait until every other unit of work that took this turn has ended, and hold it until this one does.

    What is numbered after that is numbered in the order of commits. SQLite's writers take turns anyway.
    """
    if db.engine.dialect.name == "postgresql":
        db.session.execute(sa.select(sa.func.pg_advisory_xact_lock(_turn(name))))


def try_turn(name: str) -> bool:
    """Take a turn as `in_turn` does, if nobody has it, and tell whether it was to be had."""
    if db.engine.dialect.name != "postgresql":
        return True
    return bool(db.session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_turn(name)))))


def after_commit(act: Callable[[], None]) -> None:
    """Do something once the current unit of work has committed; not at all when it does not."""
    db.session().info.setdefault("after_commit", []).append(act)


@contextmanager
def writing() -> Iterator[None]:
    """Write: all of it is committed at the end, or none of it is.

    The transaction begins with the first statement. A Problem that `keeps_writes` is committed
    with what was written before it, and goes on to the caller.
    """
    session = db.session()
    token = _writing.set(_Unit(session))
    try:
        yield
        _commit(session)
    except Problem as refusal:
        if refusal.keeps_writes:
            _commit(session)
        raise
    finally:
        _writing.reset(token)
        session.info.pop("after_commit", None)
        session.close()


def _turn(name: str) -> int:
    return int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)


def _commit(session: Session) -> None:
    session.commit()
    for act in session.info.pop("after_commit", ()):
        act()
