"""The outbox: what is owed to the world is a row of the same transaction, delivered after its commit.

A delivery reaches the world at least once: whoever dies between claiming a row and deleting it
leaves it to the next one, after the lease. The id stays the same over tries, so that receivers can
tell a repetition. A task works on the database alone, in the transaction that deletes its row: once.
"""

import random
import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Mapped, mapped_column

from api.kit import clock, work
from api.kit.actor import as_service
from api.kit.chores import Chores, chores_of
from api.kit.db import Base, UtcDateTime, db
from api.kit.feature import Deliver, Feature, Task
from api.kit.ids import new_id
from api.kit.logger import get_logger
from api.kit.queries import Query
from api.kit.service import extension, service

LEASE_SECONDS = 120  # for one delivery; no transport may take as long
POLL_SECONDS = 1.0  # between looks for what other processes committed, or what is due again
FIRST_DELAY = 5.0  # seconds before the second try, doubled for each one after it
LONGEST_DELAY = 3600.0
TRIES = 15  # over about 6 hours
ERROR_MAXIMUM = 200  # characters that are kept of why a try failed
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")  # for a line, or for a database
_random = random.SystemRandom()
log = get_logger(source="tessera.outbox")


class Owed(Base):
    """One thing that is owed; its content is sealed, for a letter may hold what lets somebody in.

    `due_at` is when it is tried next, and while somebody tries it, when their lease ends. After the
    last try it has `failed_at`, and waits for an operator. `about` is the user whom it is about, where
    one is known: it is erased with them.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        sa.Index("ix_outbox_failed_at_due_at", "failed_at", "due_at"),
        sa.Index("ix_outbox_about", "about"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(40))
    about: Mapped[UUID | None]
    content: Mapped[str] = mapped_column(sa.Text)
    tries: Mapped[int]
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    failed_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(sa.String(ERROR_MAXIMUM))


class Undeliverable(Exception):
    """What is owed can never arrive: it is not tried again."""


_SHOWN: list[Any] = [Owed.id, Owed.kind, Owed.tries, Owed.due_at, Owed.failed_at, Owed.error]
_OWE = Query(sa.insert(Owed))
_SETTLE = Query(sa.delete(Owed).where(Owed.id == sa.bindparam("owed_id")).returning(Owed.id))


def owe(kind: str, content: dict[str, Any], about: UUID | None = None) -> UUID:
    """Owe something to the world, about a user, if the current unit of work commits; return its id.

    Raises LookupError for a kind that no feature delivers.
    """
    if kind not in courier().kinds:
        raise LookupError(f"no feature delivers {kind!r}")
    now = clock.now()
    owed_id = new_id()
    _OWE.all_in_unit(
        {
            **dict.fromkeys(("failed_at", "error")),
            "id": owed_id,
            "kind": kind,
            "about": about,
            "content": _seal(content),
            "tries": 0,
            "created_at": now,
            "due_at": now,
        }
    )
    work.after_commit(courier().wake)
    return owed_id


class Courier:
    """Delivers what is owed, one thing at a time, and does chores, until told to stop."""

    def __init__(self, app: Flask, features: Sequence[Feature]) -> None:
        self.deliveries: dict[str, Deliver] = {}
        self.tasks: dict[str, Task] = {}
        for feature in features:
            self.deliveries |= feature.deliveries
            self.tasks |= feature.tasks
        self.kinds = sorted({*self.deliveries, *self.tasks})  # what can be owed here
        self._is_due, self._claim_next = _queries(self.kinds)
        self._chores = Chores(app, chores_of(features))
        self._app = app
        self._is_away = False
        self._rung: SimpleQueue[None] = SimpleQueue()  # unlike an Event a signal handler may use it
        self._stopping = False

    def wake(self) -> None:
        """Look at once: there may be something to deliver."""
        if self._rung.empty():
            self._rung.put(None)

    def stop(self) -> None:
        """Let the delivery at hand be the last."""
        self._stopping = True
        self.wake()

    def run(self) -> None:
        """Deliver, and do chores between, until told to stop."""
        while not self._stopping:
            was_busy = self._chores.do_next()
            if not self._deliver_next_if_possible() and not was_busy:
                with suppress(Empty):
                    self._rung.get(timeout=POLL_SECONDS * _random.uniform(0.75, 1.25))

    def deliver_next(self) -> bool:
        """Try the thing that is due the longest, and tell whether there was one."""
        with self._app.app_context(), as_service():
            claimed = self._claim()
            if claimed is None:
                return False
            try:
                self._attempt(claimed, _opened(claimed.content))
            except Exception as error:  # whatever it is, it is tried again
                _postpone(claimed, error)
            return True

    def _attempt(self, claimed: Any, content: dict[str, Any]) -> None:
        if claimed.kind in self.tasks:
            with work.writing():
                if _SETTLE.in_unit({"owed_id": claimed.id}) is not None:  # else another did it meanwhile
                    self.tasks[claimed.kind](content)
            return
        self.deliveries[claimed.kind](claimed.id, content)
        _SETTLE.one_or_none({"owed_id": claimed.id})

    def _deliver_next_if_possible(self) -> bool:
        """Do the same; a database that does not answer has nothing to deliver, which is said once.

        Whatever else goes wrong is no reason to deliver nothing ever after.
        """
        try:
            delivered = self.deliver_next()
        except Exception as error:
            if not self._is_away:
                log.warning("outbox_not_read", cause=type(error).__name__)
            self._is_away = True
            return False
        self._is_away = False
        return delivered

    def _claim(self) -> Any:
        """Take the next thing for as long as a lease; looks before it asks SQLite for its turn to write."""
        now = clock.now()
        if self._is_due.one_or_none({"now": now}) is None:
            return None
        with work.apart():
            return self._claim_next.in_unit(
                {"now": now, "lease_ends": now + timedelta(seconds=LEASE_SECONDS)}
            )


def _queries(kinds: Iterable[str]) -> tuple[Query, Query]:
    """Return what looks whether something of these kinds is due, and what claims it."""
    due = (
        sa.or_(sa.false(), *(Owed.kind == kind for kind in kinds)),
        Owed.failed_at.is_(None),
        Owed.due_at <= sa.bindparam("now", type_=UtcDateTime()),
    )
    next_due = sa.select(Owed.id).where(*due).order_by(Owed.due_at).limit(1).with_for_update(skip_locked=True)
    claim = (
        sa.update(Owed)
        .where(Owed.id == next_due.scalar_subquery())
        .values(tries=Owed.tries + 1, due_at=sa.bindparam("lease_ends", type_=UtcDateTime()))
        .returning(Owed.id, Owed.kind, Owed.content, Owed.tries)
    )
    return Query(sa.select(Owed.id).where(*due).limit(1)), Query(claim)


def courier() -> Courier:
    found: Courier = extension("tessera.courier")
    return found


def waiting(limit: int) -> Sequence[sa.Row[Any]]:
    """Return what is owed: first what failed for good, then by when it is due."""
    query = sa.select(*_SHOWN).order_by(Owed.failed_at.is_(None), Owed.due_at)
    return work.read_all(query.limit(limit))


def retry(owed_id: UUID | None) -> int:
    """Try again at once what failed for good: one thing, or with None all; return how many."""
    again = sa.update(Owed).where(Owed.failed_at.is_not(None))
    if owed_id is not None:
        again = again.where(Owed.id == owed_id)
    with work.apart() as connection:
        return connection.execute(again.values(failed_at=None, due_at=clock.now(), tries=0)).rowcount


def held_about(user_id: UUID) -> list[dict[str, Any]]:
    """Return what is owed about a user, less its content."""
    columns = Owed.kind, Owed.created_at, Owed.due_at, Owed.tries, Owed.failed_at
    query = sa.select(*columns).where(Owed.about == user_id).order_by(Owed.created_at)
    return [dict(row) for row in db.session.execute(query).mappings()]


def erase(user_ids: Collection[UUID]) -> None:
    """Owe nothing any more that is about some users."""
    gone = sa.delete(Owed).where(Owed.about.in_(user_ids))
    db.session.execute(gone.execution_options(synchronize_session=False))


def _postpone(claimed: Any, error: Exception) -> None:
    """Note why a try failed and when the next one is due, unless somebody else tries it by now."""
    is_last = isinstance(error, Undeliverable) or claimed.tries >= TRIES
    now = clock.now()
    values: dict[str, Any] = {"error": _UNFIT.sub(" ", f"{type(error).__name__}: {error}")[:ERROR_MAXIMUM]}
    values |= {"failed_at": now} if is_last else {"due_at": now + _delay(claimed.tries)}
    mine = sa.update(Owed).where(Owed.id == claimed.id, Owed.tries == claimed.tries)
    with work.apart() as connection:
        connection.execute(mine.values(values))
    note = log.error if is_last else log.warning
    what = {"id": str(claimed.id), "kind": claimed.kind, "tries": claimed.tries, "final": is_last}
    note("not_delivered", cause=type(error).__name__, **what)


def _delay(tries: int) -> timedelta:
    """Return how long to wait after so many tries: exponential, with jitter against herds."""
    return timedelta(seconds=min(FIRST_DELAY * 2 ** (tries - 1), LONGEST_DELAY) * _random.uniform(0.75, 1.25))


def _seal(content: dict[str, Any]) -> str:
    return service().seal("outbox").close(orjson.dumps(content))


def _opened(sealed: str) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(service().seal("outbox").open(sealed))
    return content
