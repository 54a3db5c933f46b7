"""Fixtures of the tests of sessions."""

import time
from collections.abc import Iterator

import pytest
import time_machine


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """A clock that stands still and moves by hand."""
    with time_machine.travel(int(time.time()), tick=False) as traveller:
        yield traveller
