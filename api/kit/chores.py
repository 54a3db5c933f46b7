"""Chores: what features do from time to time, by whichever process comes to it first."""

import random
from collections.abc import Iterable

from flask import Flask

from api.kit import attempts, clock, idempotency, one_time, work
from api.kit.actor import as_service
from api.kit.feature import Chore, Feature
from api.kit.logger import get_logger

_KIT_CHORES = (
    Chore("failed attempts", 60, attempts.has_passed, attempts.forget_passed),
    Chore("idempotency keys", 3600, idempotency.has_old, idempotency.forget_old),
    Chore("one-time tokens", 3600, one_time.has_expired, one_time.forget_expired),
)
_random = random.SystemRandom()
log = get_logger(source="tessera.chores")


def chores_of(features: Iterable[Feature]) -> list[Chore]:
    """Return the chores of the kit and of the features."""
    return [*_KIT_CHORES, *(chore for feature in features for chore in feature.chores)]


class Chores:
    """Does what is due, a step at a time, so that other work comes between.

    Each process has its own clock for each chore, the first step is due at once. On PostgreSQL one
    process at a time does a chore, and the others leave it to that one; SQLite's writers take turns.
    """

    def __init__(self, app: Flask, chores: Iterable[Chore]) -> None:
        self._app = app
        self._due_at = dict.fromkeys(chores, 0.0)

    def do_next(self) -> bool:
        """Do a step of the chore that is due the longest, and tell whether there was one."""
        due = [chore for chore, at in self._due_at.items() if at <= clock.monotonic()]
        if not due:
            return False
        chore = min(due, key=self._due_at.__getitem__)
        if not self._step(chore):
            self._due_at[chore] = clock.monotonic() + chore.seconds * _random.uniform(0.75, 1.25)
        return True

    def _step(self, chore: Chore) -> bool:
        """Do one step, and tell whether there may be another; what goes wrong waits for the next time."""
        try:
            with self._app.app_context(), as_service():
                return _do(chore)
        except Exception as error:  # a feature's own, or a database that is away
            log.warning("chore_not_done", chore=chore.name, cause=type(error).__name__)
            return False


def _do(chore: Chore) -> bool:
    with work.reading():
        if not chore.is_needed():
            return False
    with work.writing():
        return work.try_turn(f"chore {chore.name}") and chore.act()
