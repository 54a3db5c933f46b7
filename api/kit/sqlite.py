"""SQLite made durable, and its writers made to wait for their turn (docs/adr/0003-transactions.md)."""

import sqlite3
from threading import Lock
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import TimeoutError as WaitTimeout

from api.kit.driver_errors import as_sqlalchemy_has_it

BUSY_TIMEOUT = 5  # seconds that a writer waits for one of another process
TURN_TIMEOUT = 2  # seconds that it waits before that for those of its own
_HAS_TURN = "tessera.has_turn"


def prepare(engine: sa.Engine) -> None:
    """Make an engine of SQLite durable, and its transactions of the right kind.

    The driver would begin them late, so updates get lost: `BEGIN IMMEDIATE` opens one that writes.
    Between processes SQLite's own lock decides, by sleeping and trying again; within this one a
    lock that wakes who waits does it a tenth as late.
    """
    turn = Lock()

    def begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("reading"):
            return
        if not connection.info.get(_HAS_TURN):
            if not turn.acquire(timeout=TURN_TIMEOUT):
                raise WaitTimeout("another writer took too long")
            connection.info[_HAS_TURN] = True
        driver: Any = connection.connection.driver_connection
        try:
            driver.execute("BEGIN IMMEDIATE").close()  # SQLAlchemy's way costs several times as much
        except sqlite3.Error as error:
            raise as_sqlalchemy_has_it(error, connection.dialect, driver) from error

    def give_back(_connection: object, record: sa.pool.ConnectionPoolEntry) -> None:
        if record.info.pop(_HAS_TURN, False):
            turn.release()

    sa.event.listen(engine, "connect", _set_up)
    sa.event.listen(engine, "begin", begin)
    sa.event.listen(engine, "checkin", give_back)
    sa.event.listen(engine, "detach", give_back)


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()
