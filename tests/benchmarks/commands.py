"""Benchmarks run as commands, and the tables that they print."""

import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import benchmarks
from benchmarks.postgresql import URL
from tests.services import POSTGRESQL, is_available
from tests.support.servers import ROOT

WRITTEN_BY_DEFAULT = ("docs/performance", "docs/lists.svg")
MAIN = 'if __name__ == "__main__":'
NO_FAILURE = "No request failed."


@dataclass(frozen=True)
class Table:
    """A table in Markdown."""

    head: list[str]
    rows: list[list[str]]

    def column(self, name: str) -> list[str]:
        """Return the cells of a column."""
        return [row[self.head.index(name)] for row in self.rows]

    def numbers(self, name: str) -> list[float]:
        """Return the numbers of a column; raises ValueError if a cell is none."""
        return [float(cell.replace(",", "")) for cell in self.column(name)]


@dataclass(frozen=True)
class Finished:
    """A benchmark that has ended."""

    code: int
    output: str
    progress: str

    @property
    def tables(self) -> list[Table]:
        """Return the tables of the output."""
        blocks = re.findall(r"(?:^\|.*\n?)+", self.output, re.MULTILINE)
        return [_table(block.splitlines()) for block in blocks]


def _table(lines: Sequence[str]) -> Table:
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == len(head) for row in rows), lines
    return Table(head, rows)


def commands() -> set[str]:
    """Return the names of all benchmarks that are commands."""
    folder = Path(benchmarks.__path__[0])
    names = {module.name for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg}
    found = {name for name in names if MAIN in (folder / f"{name}.py").read_text(encoding="utf-8")}
    return found | {main.parent.name for main in folder.glob("*/__main__.py")}


def run_benchmark(name: str, *arguments: str, **environ: str) -> Finished:
    """Run a benchmark without any peer, and assert that it writes nothing into docs/.

    It uses the PostgreSQL of the tests and starts none of its own.
    """
    before = _state()
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "TEST_POSTGRESQL_URL": URL,
            "PEERS_HOME": "/nonexistent",
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert _state() == before, "it wrote into docs/"
    return Finished(done.returncode, done.stdout, done.stderr)


def run_well(name: str, *arguments: str) -> Finished:
    """Run a benchmark, and assert that it ends well and that no request failed."""
    done = run_benchmark(name, *arguments)
    assert done.code == 0, done.progress + done.output
    assert done.output.rstrip().endswith(NO_FAILURE), done.output
    return done


def _state() -> dict[Path, int]:
    files = [file for name in WRITTEN_BY_DEFAULT for file in [ROOT / name, *(ROOT / name).glob("*")]]
    return {file: file.stat().st_mtime_ns for file in files if file.exists()}


def storages() -> list[str]:
    """Return the databases that benchmarks find; in CI both must be there."""
    if os.environ.get("CI") or is_available(POSTGRESQL):
        return ["SQLite", "PostgreSQL"]
    return ["SQLite"]
