"""`python -m benchmarks.doors`: times at both doors, and a reader in a flood."""

import pytest

from benchmarks.doors import DOORS
from tests.benchmarks.commands import run_well

pytestmark = pytest.mark.long


def test_doors_and_floods_are_measured() -> None:
    found = ["SQLite"]  # test_under_load starts the same services on PostgreSQL
    sizes = ("--pairs", "2", "--seconds", "0.2", "--flood", "4", "--on", "sqlite")
    times, floods = run_well("doors", *sizes).tables
    assert times.column("door") == [*DOORS] * len(found)
    assert times.column("on") == [storage for storage in found for _ in DOORS]
    for name in ("known ms", "unknown ms"):
        assert all(0 < ms < 10_000 for ms in times.numbers(name))
    assert all(0 <= p <= 1 for p in times.numbers("p"))
    assert floods.column("service") == [f"Tessera, {storage}" for storage in found]
    for name in ("quiet p99 ms", "flooded p99 ms", "x"):
        assert all(number > 0 for number in floods.numbers(name))
    for name in ("MiB before", "MiB in the flood"):
        assert all(20 < mib < 2000 for mib in floods.numbers(name))
