"""Waits until another request is blocked by a lock that the test holds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, get_ident
from unittest.mock import patch

import sqlalchemy as sa
from flask import Flask

from api.kit import sqlite, work
from api.kit.db import db
from tests.support.waiting import DEADLINE, wait_until

WHAT = "another request waits for the lock"


@contextmanager
def watching_locks(app: Flask) -> Iterator[Callable[[], None]]:
    """Yield a function that waits until a request is blocked by the unit of work that calls it.

    Enter this before that unit of work begins, and call the function once the unit holds its locks.
    """
    with app.app_context():
        engine = db.engine
    if engine.dialect.name == "postgresql":
        yield _wait_for_blocked_backend
    else:
        with _beginners(engine) as has_begun:
            yield lambda: _wait_for_beginner(has_begun)


def _wait_for_blocked_backend() -> None:
    """Wait until PostgreSQL reports that our transaction blocks another one."""
    ours = work.connection().scalar(sa.select(sa.func.pg_backend_pid()))
    backend = sa.table("pg_stat_activity", sa.column("pid", sa.Integer))
    is_blocked = sa.literal(ours) == sa.any_(sa.func.pg_blocking_pids(backend.c.pid))
    blocked = sa.select(backend.c.pid).where(is_blocked)
    wait_until(lambda: work.read_all(blocked), WHAT)


def _wait_for_beginner(has_begun: Event) -> None:
    wait_until(has_begun.is_set, WHAT)


@contextmanager
def _beginners(engine: sa.Engine) -> Iterator[Event]:
    """Yield an event that is set when another thread has a connection on which it writes.

    It then begins: `BEGIN IMMEDIATE` takes SQLite's one lock for writers, so while we hold that, the request
    gets no further. The service gives up after two seconds; a busy machine may need more.
    """
    ours, has_begun = get_ident(), Event()

    def note(_connection: sa.Connection) -> None:
        if get_ident() != ours:
            has_begun.set()

    sa.event.listen(engine, "engine_connect", note)
    try:
        with patch.object(sqlite, "TURN_TIMEOUT", DEADLINE):
            yield has_begun
    finally:
        sa.event.remove(engine, "engine_connect", note)
