"""Longer waits inside the service, where a test fills the machine and its limits are not the subject.

The service waits two seconds for a lock, a statement, a connection or a core that hashes, and then answers
503. A busy machine exceeds that.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa

from api.kit import hashing, sqlite
from tests.support.waiting import DEADLINE

MILLISECONDS = int(DEADLINE * 1000)
LONGER = {
    "sqlite": f"PRAGMA busy_timeout = {MILLISECONDS}",
    "postgresql": f"SET lock_timeout = {MILLISECONDS}; SET statement_timeout = {MILLISECONDS}",
}


@contextmanager
def patient(engines: Iterable[sa.Engine]) -> Iterator[None]:
    """Let this process wait up to DEADLINE on these engines. Their connections are closed and made anew.

    Of engines that share a pool, name one.
    """
    with ExitStack() as stack:
        stack.enter_context(patch.object(sqlite, "TURN_TIMEOUT", DEADLINE))
        stack.enter_context(patch.object(hashing, "WAIT_SECONDS", DEADLINE))
        for engine in engines:
            stack.enter_context(_patient(engine))
        yield


@contextmanager
def _patient(engine: sa.Engine) -> Iterator[None]:
    def lengthen(connection: Any, _record: object) -> None:
        connection.cursor().execute(LONGER[engine.dialect.name])
        connection.commit()  # or PostgreSQL forgets it with a transaction that is rolled back

    assert isinstance(engine.pool, sa.QueuePool)
    engine.dispose()  # makes another pool, which keeps the listeners
    sa.event.listen(engine, "connect", lengthen)
    try:
        with patch.object(engine.pool, "_timeout", DEADLINE):
            yield
    finally:
        sa.event.remove(engine, "connect", lengthen)
        engine.dispose()
