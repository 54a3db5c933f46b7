"""How far an import or export is, for whoever watches: a bar on a terminal, a line now and then elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from api.kit import clock

LINE_SECONDS = 5.0  # between two lines where no terminal is


class Watcher(Protocol):
    """Is told of what is done, in the unit of the whole, and of the rows."""

    def show(self, done: int, rows: int, refused: int | None = None) -> None: ...


@contextmanager
def watched(title: str, total: int, done: int = 0, rows: int = 0) -> Iterator[Watcher]:
    """Show what is done of a total, from where it begins on standard error."""
    pace = _Pace(rows)
    if not sys.stderr.isatty():
        yield _Lines(title, total, pace)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total, completed=done, note="")
        yield _Bar(progress, task, pace)


class _Pace:
    """Rows, and how many come in a second."""

    def __init__(self, rows: int) -> None:
        self._first = rows
        self._began = clock.monotonic()

    def note(self, rows: int, refused: int | None) -> str:
        """Return rows, rate and refusals in words."""
        rate = (rows - self._first) / max(clock.monotonic() - self._began, 0.001)
        words = f"{rows:,} rows, {rate:,.0f} a second"
        return words if refused is None else f"{words}, {refused:,} refused"

    def left(self, done: int, began_with: int, total: int) -> float:
        """Return the seconds that the rest takes at the pace so far."""
        spent = clock.monotonic() - self._began
        return spent * (total - done) / max(done - began_with, 1)


class _Bar:
    def __init__(self, progress: Progress, task: TaskID, pace: _Pace) -> None:
        self._progress, self._task, self._pace = progress, task, pace

    def show(self, done: int, rows: int, refused: int | None = None) -> None:
        self._progress.update(self._task, completed=done, note=self._pace.note(rows, refused))


class _Lines:
    def __init__(self, title: str, total: int, pace: _Pace) -> None:
        self._title, self._total, self._pace = title, total, pace
        self._due = clock.monotonic() + LINE_SECONDS
        self._from: int | None = None

    def show(self, done: int, rows: int, refused: int | None = None) -> None:
        self._from = done if self._from is None else self._from
        is_end = done >= self._total
        if clock.monotonic() < self._due and not is_end:
            return
        self._due = clock.monotonic() + LINE_SECONDS
        share = 100 * done // max(self._total, 1)
        left = "" if is_end else f", about {self._pace.left(done, self._from, self._total):,.0f} s left"
        click.echo(f"{self._title}: {share}%, {self._pace.note(rows, refused)}{left}", err=True)
