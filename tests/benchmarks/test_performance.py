"""`python -m benchmarks.performance`: figures of every workload, for Tessera and a bare route."""

import json
from pathlib import Path

import pytest

from benchmarks.systems import BARE, HASHLESS, LETTERLESS, OURS
from benchmarks.tessera import TESSERA
from tests.benchmarks.commands import run_well, storages

pytestmark = pytest.mark.long


def test_every_workload_has_figures(tmp_path: Path) -> None:
    storage = storages()[-1]
    sizes = ("--rounds", "1", "--seconds", "0.1", "--users", "200")
    done = run_well("performance", *sizes, "--on", storage.lower(), "--to", str(tmp_path))
    run = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    records = {record["system"]: record for record in run["records"]}
    assert set(records) == {OURS, HASHLESS, LETTERLESS, BARE}
    assert set(records[OURS]["workloads"]) == TESSERA.offers
    for record in records.values():
        for [figure] in record["workloads"].values():
            assert figure["us"] > 20
            assert 0 < figure["p50_ms"] <= figure["p99_ms"]
            assert (figure["failed"], figure["is_valid"]) == (0, True)
        assert record["start_ms"][0] > 50
        assert record["loaded_mib"][0] > 20
    assert {(one["processes"], one["is_valid"]) for one in run["throughput"]} == {(1, True), (2, True)}
    assert all(one["requests_per_second"] > 10 for one in run["throughput"])
    assert (run["users"], run["failures"]) == (200, [])
    [summary] = done.tables
    assert [cell for cell in summary.column(f"{OURS}, {storage}") if not cell] == []
    assert "first 50 of 200 users" in summary.column("")
    assert "## Tessera's requests" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "<svg" in (tmp_path / "performance.svg").read_text(encoding="utf-8")
