"""`tessera worker`, killed without a warning at random moments: no letter is lost, none becomes another."""

import os
import random
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from api.kit import mail, work
from api.kit.db import db
from api.kit.outbox import Owed
from tests.support.ledger import Ledger, ledger
from tests.support.waiting import DEADLINE, wait_until
from tests.support.workers import Nursery, workers

pytestmark = pytest.mark.long

LETTERS = 500
KILLS = 12
APART = 20  # letters at most between two kills
AT_ONCE = 2  # workers
LEASE = 5.0  # seconds: what a killed worker was at is tried again after that
SLOW = 0.004  # seconds at most before, and again after, the mail server has written a letter down
VALUES = {"name": None, "service": "https://id.example.com", "at": "now"}


def test_every_letter_that_was_promised_arrives_though_workers_are_killed(
    app: Flask, environ: dict[str, str], tmp_path: Path
) -> None:
    promised: dict[str, str] = {}
    with ledger(tmp_path, SLOW) as sink:
        variables = environ | {"TESSERA_MAIL_URL": sink.url}
        with workers(variables, LEASE) as nursery, _promising(app, promised):
            _kill_and_replace(nursery, sink)
        with workers(variables, LEASE) as nursery:
            nursery.start()
            wait_until(lambda: _count(app) == 0, "nothing is owed")
        arrived = sink.entries()
    assert len(promised) == LETTERS
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for message_id, recipient in arrived:
        ids[recipient].add(message_id)
    assert ids == {recipient: {message_id} for recipient, message_id in promised.items()}
    times = Counter(message_id for message_id, _ in arrived)
    assert sum(times.values()) - LETTERS <= KILLS + AT_ONCE, "only what a killed worker was at comes twice"


@contextmanager
def _promising(app: Flask, promised: dict[str, str]) -> Iterator[None]:
    """Meanwhile owe letters, ten in a unit of work, and note those whose unit has committed."""

    def promise() -> None:
        for first in range(0, LETTERS, 10):
            people = [f"user-{number}@example.com" for number in range(first, first + 10)]
            with app.app_context():
                with work.writing():
                    ids = [mail.post("password_changed", person, None, VALUES) for person in people]
                promised.update({p: f"<{i}@id.example.com>" for p, i in zip(people, ids, strict=True)})

    thread = threading.Thread(target=promise)
    thread.start()
    try:
        yield
    finally:
        thread.join(DEADLINE)


def _kill_and_replace(nursery: Nursery, sink: Ledger) -> None:
    """Kill one of the workers after a random number of letters and start another, many times."""
    running = [nursery.start() for _ in range(AT_ONCE)]
    for _ in range(KILLS):
        sink.wait_for(len(sink.entries()) + random.randrange(APART))
        os.kill(running.pop(random.randrange(AT_ONCE)), signal.SIGKILL)
        running.append(nursery.start())
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def _count(app: Flask) -> int:
    with app.app_context(), work.reading():
        return db.session.scalar(sa.select(sa.func.count()).select_from(Owed)) or 0
