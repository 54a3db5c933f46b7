"""`python -m benchmarks.soak`: what was seen of a service that people use; a short run has no verdict."""

import re

import pytest

from tests.benchmarks.commands import run_well, storages

pytestmark = pytest.mark.long


def test_a_short_soak_sees_memory_and_tables() -> None:
    storage = storages()[-1]
    sizes = ("--minutes", "0.02", "--calibration", "0.4", "--people", "2")
    done = run_well("soak", *sizes, "--on", storage.lower())
    [table] = done.tables
    assert {"memory MiB", "descriptors", "threads", "users", "sessions"} <= set(table.column("mean of"))
    assert set(table.column("verdict")) == {"too short"}
    for row in table.rows[:3]:
        assert all(float(cell) > 0 for cell in row[1:5])
    requests = re.search(r"^([\d,]+) requests, (\d+) of (\d+) a second", done.output, re.MULTILINE)
    assert requests is not None
    assert all(int(number.replace(",", "")) > 0 for number in requests.groups())
    assert "min left" in done.progress
