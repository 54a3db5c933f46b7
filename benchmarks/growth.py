"""What a running service has grown to: memory, descriptors, threads, rows; and whether it grows on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import sqlalchemy as sa

from api.app import all_features
from api.kit.db import Base
from benchmarks.measuring import family

LOOKS = 8
BETWEEN_LOOKS = 0.05  # seconds; a hash takes about as long


@dataclass(frozen=True)
class State:
    """What there is at one moment, in all processes of a service; memory is PSS in MiB, but for hashes."""

    at: float
    memory: float
    descriptors: int
    threads: int
    rows: dict[str, int]


class Watch:
    """Looks at a service, by the id of its first process, and at its database."""

    def __init__(self, pid: int, url: str) -> None:
        all_features()  # whose tables there are
        self._pid = pid
        self.engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))

    def look(self) -> State:
        """Return what there is now."""
        pids = family(self._pid)
        entries = [Path(f"/proc/{pid}") for pid in pids]
        return State(
            at=time.monotonic(),
            memory=_between_hashes(entries),
            descriptors=sum(_count(entry / "fd") for entry in entries),
            threads=sum(_count(entry / "task") for entry in entries),
            rows=self._rows(),
        )

    def close(self) -> None:
        self.engine.dispose()

    def _rows(self) -> dict[str, int]:
        tables = Base.metadata.sorted_tables
        with self.engine.connect() as connection:
            counted = {table.name: sa.select(sa.func.count()).select_from(table) for table in tables}
            return {name: connection.scalar(count) or 0 for name, count in counted.items()}


def _between_hashes(entries: Sequence[Path]) -> float:
    """Return the memory of processes at a moment in which, most likely, none has the 19 MiB of a hash."""
    least = sum(map(_shared_out, entries))
    for _ in range(LOOKS - 1):
        time.sleep(BETWEEN_LOOKS)
        least = min(least, sum(map(_shared_out, entries)))
    return least


def _shared_out(entry: Path) -> float:
    """Return a process's part of the memory, in MiB (proc(5), smaps_rollup)."""
    lines = (entry / "smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def growth(states: Sequence[State], value: Callable[[State], float]) -> float:
    """Return by how much a value grows in a second, from its mean in the third quarter to that in the fourth.

    What goes up and down with the chores does not count: a quarter should have some of them.
    """
    quarter = max(1, len(states) // 4)
    third, fourth = states[-2 * quarter : -quarter], states[-quarter:]
    risen = fmean(map(value, fourth)) - fmean(map(value, third))
    return risen / (fourth[-1].at - third[-1].at)
