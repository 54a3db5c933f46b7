"""`python -m benchmarks.lists`: milliseconds for every call, at each size, and the plot."""

from pathlib import Path

import pytest

from benchmarks.lists import PLOTTED, plot
from tests.benchmarks.commands import run_benchmark, storages

pytestmark = pytest.mark.long


def test_every_call_takes_some_time_at_each_size(tmp_path: Path) -> None:
    plot = tmp_path / "lists.svg"
    found = storages()
    arguments = ("--users", "1000", "--rounds", "1", "--to", str(plot))
    done = run_benchmark("lists", *arguments)
    assert done.code == 0, done.progress
    assert [table.head[0] for table in done.tables] == found
    for table in done.tables:
        assert table.head[1:] == ["100 users, ms", "1,000 users, ms", "x"]
        assert len(table.rows) == 28
        for column in table.head[1:]:
            assert all(0 < number < 10_000 for number in table.numbers(column))
    assert not plot.exists()


def test_a_plot_has_a_line_for_each_plotted_call_and_database() -> None:
    databases, sizes = ("SQLite", "PostgreSQL"), (20, 200)
    measured = {(database, n, name): 1.0 + n for database in databases for n in sizes for name in PLOTTED}
    drawn = plot(measured, databases, sizes)
    assert drawn.count("<polyline") == 2 * len(PLOTTED) * len(databases)  # each with its key


def test_too_few_users_for_a_plot_are_an_error() -> None:
    assert run_benchmark("lists", "--users", "1000", "--plot").code == 2
