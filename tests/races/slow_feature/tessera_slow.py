"""A feature from outside that makes races likely: each statement is followed by a random pause.

What was read is old before it is written upon, and what was written waits for its commit. The tests
put this folder on a server's PYTHONPATH; the service knows nothing of it.
"""

import random
import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask

from api.kit.db import db
from api.kit.feature import Feature
from api.kit.settings import Setting, Settings
from tests.support.patience import patient

CONTROL = Setting(
    "SLOW_CONTROL",
    "File of the longest pause in milliseconds, the seed of the pauses, and after which statements.",
    Path("slow"),
    Path,
)
_as_long_as_it_runs = ExitStack()


class Pauses:
    """Pauses as a file tells, which may be written anew at any time."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._told = ""
        self._longest = 0.0
        self._statements = re.compile("")
        self._random = random.Random()

    def after(self, _connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        """Pause after a statement, if it is one of those that are told."""
        self._listen()
        if self._longest and self._statements.search(text):
            time.sleep(self._random.uniform(0, self._longest))  # slow peer: a database that takes its time

    def _listen(self) -> None:
        told = self._control.read_text(encoding="ascii")
        if told != self._told:
            self._told = told
            milliseconds, seed, statements = told.split(" ", 2)
            self._longest = int(milliseconds) / 1000
            self._random = random.Random(int(seed))
            self._statements = re.compile(statements)


def start(app: Flask, settings: Settings) -> None:
    """Pause after statements on every engine; those of one pool are one."""
    pauses = Pauses(settings[CONTROL])
    with app.app_context():
        engines = dict.fromkeys([db.engine, *db.engines.values()])
    by_pool = {id(engine.pool): engine for engine in reversed(engines)}
    _as_long_as_it_runs.enter_context(patient(by_pool.values()))
    for engine in by_pool.values():
        sa.event.listen(engine, "after_cursor_execute", pauses.after)


feature = Feature(
    name="slow",
    summary="Pauses after statements, so that races show.",
    settings=(CONTROL,),
    start=start,
)
