"""`python -m benchmarks.layers`: a cost for every rung and every step."""

import pytest

from benchmarks.layers import LARGE, SMALL
from tests.benchmarks.commands import run_well

pytestmark = pytest.mark.long


def test_every_rung_and_every_step_has_a_cost() -> None:
    done = run_well("layers", "--rounds", "1", "--seconds", "0.1", "--calls", "3")
    rungs, steps = done.tables
    assert rungs.column("rung") == [*SMALL.values(), *LARGE.values()]
    assert all(cost > 10 for cost in rungs.numbers("us"))
    assert rungs.numbers("us")[-1] > rungs.numbers("us")[0]
    assert len(steps.rows) == 8
    assert all(cost >= 0 for cost in steps.numbers("us"))
    assert max(steps.numbers("us")) > 5
    assert "round 1 of 1" in done.progress
