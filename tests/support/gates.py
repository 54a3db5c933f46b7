"""Gates between processes: what arrives at one waits until a test lets it go on.

So a test knows that a request is being worked on, and for as long as it wants.
"""

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import DEADLINE

_ARRIVALS, _PASSES = "arrivals", "passes"  # named pipes: a byte for each that arrives, or may go on


@dataclass(frozen=True)
class Gate:
    """The gate as the test has it."""

    folder: Path
    arrivals: int
    passes: int

    def wait_for(self, count: int) -> None:
        """Wait until so many more have arrived."""
        for arrived in range(count):
            readable, _, _ = select.select([self.arrivals], [], [], DEADLINE)
            assert readable, f"{arrived} of {count} arrived at the gate"
            os.read(self.arrivals, 1)

    def let_go(self, count: int) -> None:
        """Let so many go on: those that wait, and those that are yet to arrive."""
        os.write(self.passes, b"." * count)


@contextmanager
def gate(folder: Path) -> Iterator[Gate]:
    """Build a gate in an empty folder; at the end all that wait there go on."""
    paths = folder / _ARRIVALS, folder / _PASSES
    for path in paths:
        os.mkfifo(path)
    ends = [os.open(path, os.O_RDWR) for path in paths]  # both ends, so that nobody waits for the other one
    try:
        yield Gate(folder, *ends)
    finally:
        for path in paths:
            path.unlink()
        for end in ends:
            os.close(end)


def arrive(folder: Path) -> None:
    """Report an arrival at a gate, in the process under test."""
    with suppress(FileNotFoundError), (folder / _ARRIVALS).open("wb", buffering=0) as arrivals:
        arrivals.write(b".")


def pass_gate(folder: Path) -> None:
    """Arrive at a gate, in the process under test, and wait until the test lets us go on."""
    arrive(folder)
    with suppress(FileNotFoundError), (folder / _PASSES).open("rb", buffering=0) as passes:
        passes.read(1)
