"""`python -m benchmarks.under_load`: the times of visits beside each crowd."""

import pytest

from benchmarks.under_load import LIVE, ME, crowds
from tests.benchmarks.commands import run_well, storages

pytestmark = pytest.mark.long


def test_visits_are_timed_beside_each_crowd() -> None:
    storage = storages()[-1]
    sizes = ("--seconds", "0.1", "--slow", "4", "--idle", "16", "--flood", "4")
    [table] = run_well("under_load", *sizes, "--on", storage.lower()).tables
    names = [crowd.name for crowd in crowds(4, 16, 4)]
    assert table.column("beside") == names * 2
    assert table.column("on") == [storage] * 2 * len(names)
    assert table.column("what") == [f"`GET {path}`" for path in (LIVE, ME) for _ in names]
    assert all(0 < ms < 5000 for name in ("p50 ms", "p95 ms", "p99 ms") for ms in table.numbers(name))
    assert set(table.numbers("failed")) == {0}
