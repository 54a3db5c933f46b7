"""Looks beneath HTTP: the statements that ran, the hashes that were made, the rows that are kept."""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch
from uuid import UUID

import sqlalchemy as sa
from flask import Flask

from api.kit import hashing, sqlite, work
from api.kit.db import db
from api.kit.events import Event, Events, Listener
from api.kit.hashing import Hasher
from api.sessions.models import Session
from api.users.models import User
from tests.support.waiting import DEADLINE

T = TypeVar("T")


@dataclass
class Statement:
    """One statement, as it went to the database."""

    text: str
    parameters: Any


@contextmanager
def statements(app: Flask, *, keys: bool = False) -> Iterator[list[Statement]]:
    """Yield a list that grows by each statement of the app, less those that only begin one.

    Signing keys are read again by the clock, whatever is asked: that is left out unless `keys` are wanted.
    """
    seen: list[Statement] = []

    def note(_connection: Any, _cursor: Any, text: str, parameters: Any, *_: Any) -> None:
        if not text.startswith("BEGIN") and (keys or "signing_keys" not in text):
            seen.append(Statement(text, parameters))

    engines = _engines(app)
    for engine in engines:
        sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            sa.event.remove(engine, "before_cursor_execute", note)


def connections_in_use(app: Flask) -> int:
    """Return how many connections of the app's pools are taken."""
    pools = [engine.pool for engine in _engines(app)]
    return sum(pool.checkedout() for pool in pools if isinstance(pool, sa.QueuePool))


def _engines(app: Flask) -> list[sa.Engine]:
    """Return the app's engines, one for each pool."""
    with app.app_context():
        by_pool: dict[int, sa.Engine] = {}
        for engine in db.engines.values():
            by_pool.setdefault(id(engine.pool), engine)
        return list(by_pool.values())


def user_row(app: Flask, user_id: str) -> User:
    """Return a user as the database holds it."""
    with app.app_context(), work.reading():
        return db.session.execute(sa.select(User).where(User.id == UUID(user_id))).scalar_one()


def session_row(app: Flask, session_id: str) -> Session:
    """Return a session as the database holds it."""
    with app.app_context(), work.reading():
        return db.session.execute(sa.select(Session).where(Session.id == UUID(session_id))).scalar_one()


def set_user(app: Flask, user_id: str, **values: Any) -> None:
    """Write columns of a user behind the service's back."""
    with app.app_context(), work.writing():
        db.session.execute(sa.update(User).where(User.id == UUID(user_id)).values(**values))


def in_parallel(times: int, call: Callable[[int], T]) -> list[T]:
    """Call with 0, 1, 2, ... in as many threads, all let go at once, and return what they gave.

    Meanwhile a hash and a writer of SQLite wait for their turn as long as a busy machine needs.
    """
    start = threading.Barrier(times)

    def run(number: int) -> T:
        start.wait(DEADLINE)
        return call(number)

    with (
        patch.object(hashing, "WAIT_SECONDS", DEADLINE),
        patch.object(sqlite, "TURN_TIMEOUT", DEADLINE),
        ThreadPoolExecutor(times) as pool,
    ):
        return list(pool.map(run, range(times)))


@dataclass
class Counted:
    """What a counting hasher did, and how many connections were taken meanwhile."""

    hashed: int = 0
    verified: int = 0
    connections: list[int] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.hashed + self.verified


class CountingHasher(Hasher):
    """A hasher that counts what it does, unless told otherwise as cheap as the tests' own."""

    def __init__(
        self,
        app: Flask,
        folder: Path,
        *,
        memory_kib: int = 64,
        time_cost: int = 1,
        cores: int | None = None,
    ) -> None:
        super().__init__(memory_kib, time_cost, folder, cores)
        self.app = app
        self.counted = Counted()

    def hash(self, password: str) -> str:
        self.counted.hashed += 1
        self.counted.connections.append(connections_in_use(self.app))
        return super().hash(password)

    def verify(self, hashed: str | None, password: str) -> bool:
        self.counted.verified += 1
        self.counted.connections.append(connections_in_use(self.app))
        return super().verify(hashed, password)


@contextmanager
def crowded(hasher: Hasher) -> Iterator[None]:
    """Take all places to hash, as if so many others waited."""
    places, taken = hasher._queue._places, 0
    while places.acquire(blocking=False):
        taken += 1
    try:
        yield
    finally:
        places.release(taken)


@contextmanager
def listening(app: Flask, *listeners: tuple[type[Event], Listener]) -> Iterator[None]:
    """Let an app's events be heard by others as well, as a feature from outside would declare it."""
    service = app.extensions["tessera"]
    before = service.events
    declared = [kind for feature in service.features for kind in feature.events]
    own = [pair for feature in service.features for pair in feature.listeners]
    service.events = Events(declared, [*own, *listeners])
    try:
        yield
    finally:
        service.events = before


_OUTSIDE = ("open", "socket.connect", "socket.getaddrinfo", "subprocess.Popen")
_lookers: list[list[str]] = []


@contextmanager
def looks_outside() -> Iterator[list[str]]:
    """Yield a list that grows by each file, address or program that this process asks the system for."""
    if not hasattr(looks_outside, "hooked"):
        sys.addaudithook(_note_look)  # there is no way to take one off again
        looks_outside.hooked = True  # type: ignore[attr-defined]  # once a process
    seen: list[str] = []
    _lookers.append(seen)
    try:
        yield seen
    finally:
        _lookers.remove(seen)


def _note_look(event: str, arguments: tuple[Any, ...]) -> None:
    if _lookers and event in _OUTSIDE:
        for seen in _lookers:
            seen.append(f"{event} {arguments[:2]!r}")
