"""`python -m benchmarks.servers`: the bridge's cost, and what it does with hostile clients."""

import pytest

from tests.benchmarks.commands import run_benchmark, run_well

pytestmark = pytest.mark.long


def test_the_bridge_is_measured() -> None:
    sizes = ("--rounds", "1", "--load-seconds", "0.1", "--seconds", "0.1", "--slow", "4")
    done = run_well("servers", "--only", "bridge", *sizes)
    [table] = done.tables
    assert len(table.rows) == 1
    for name in ("GET us", "POST us", "p50 ms", "p99 ms"):
        assert all(0 < number < 100_000 for number in table.numbers(name))
    assert table.numbers("failed") == [0]
    assert table.column("SIGTERM") == ["6 of 6, exit 0"]
    assert table.column("too large")[0].startswith("413")
    assert table.column("slow bodies")[0].endswith("none cut")
    assert "round 1 of 1" in done.progress


def test_an_unknown_candidate_is_an_error() -> None:
    assert run_benchmark("servers", "--only", "nobody").code == 2
