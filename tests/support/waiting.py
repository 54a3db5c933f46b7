"""The one way in which tests wait for a state: ask until it holds, or fail at a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE = 60.0  # seconds: far more than anything takes, so that a busy machine fails no test
INTERVAL = 0.01  # seconds between two questions


def wait_until(holds: Callable[[], T], what: str, seconds: float = DEADLINE) -> T:
    """Call `holds` until it returns a true value, and return that value.

    Raises AssertionError, naming `what` was waited for, if that takes longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"after {seconds:g} seconds still not: {what}"
        time.sleep(INTERVAL)
    return found
