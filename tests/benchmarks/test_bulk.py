"""`python -m benchmarks.bulk`: rows a second of imports and exports, and of the bare rows."""

import pytest

from tests.benchmarks.commands import run_well

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    "storage", ["SQLite", pytest.param("PostgreSQL", marks=pytest.mark.needs("PostgreSQL"))]
)
def test_imports_and_exports_have_a_speed(storage: str) -> None:
    done = run_well("bulk", "--rows", "100", "--on", storage.lower())
    [table] = done.tables
    assert table.column("what") == ["import", "import of an export", "export"]
    assert table.column("on") == [storage] * 3
    for name in ("rows/s", "us", "bare us"):
        assert all(number > 0 for number in table.numbers(name))
    assert all(10 < mib < 1000 for mib in table.numbers("peak MiB"))
    for cell in table.column("bare rows/s"):
        name, _, rate = cell.partition(": ")
        assert name
        assert float(rate.replace(",", "")) > 100
    assert f"{storage}: importing" in done.progress
