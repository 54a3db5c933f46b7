"""Failures of a run: recorded beside the figures, so that one failure costs one figure and not the run."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

MOST_FAILED = 0.01  # of the requests of one measurement: with more its figure is not valid
EXCERPT = 160  # characters of an answer


class Failed(SystemExit):
    """A server or a step that failed. If nothing catches it, it ends the run with its text."""


class WrongAnswer(Failed):
    """A server gave another answer than it should."""


@dataclass
class Outcome:
    """The answers to the requests of one measurement: seconds for the right ones, a count of the others.

    `counted` are right answers that somebody else has counted, without their seconds.
    """

    latencies: list[float] = field(default_factory=list)
    counted: int = 0
    failed: int = 0
    first: str = ""  # what the first failure was
    is_lost: bool = False  # whether there is no figure, whatever was answered

    @property
    def requests(self) -> int:
        """The number of requests that were sent."""
        return self.right + self.failed

    @property
    def right(self) -> int:
        """The number of right answers."""
        return len(self.latencies) + self.counted

    @property
    def is_valid(self) -> bool:
        """Whether so few requests failed that the figures of the others stand for all."""
        return not self.is_lost and self.right > 0 and self.failed <= self.requests * MOST_FAILED

    def fail(self, what: object, count: int = 1) -> None:
        """Count failed requests, and keep the text of the first failure."""
        self.first = self.first or excerpt(what)
        self.failed += count

    def include(self, other: "Outcome") -> None:
        """Add the answers and the failures of another measurement."""
        self.latencies += other.latencies
        self.counted += other.counted
        self.first = self.first or other.first
        self.failed += other.failed


class NotMeasured(Failed):
    """A measurement without any figure; `outcome` has what failed in it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.first)
        self.outcome = outcome
        outcome.is_lost = True


@dataclass(frozen=True)
class Failure:
    """What failed in one measurement of one system; `requests` is 0 where none was measured."""

    system: str
    what: str
    failed: int
    requests: int
    first: str
    is_valid: bool  # whether the figure counts all the same
    is_ours: bool  # whether Tessera failed, and not a peer


@dataclass
class Failures:
    """All failures of a run."""

    found: list[Failure] = field(default_factory=list)

    def add(self, system: str, what: str, outcome: Outcome, *, is_ours: bool = True) -> None:
        """Record the failures of a measurement, if there are any, and report them."""
        if not outcome.failed:
            return
        failure = Failure(
            system, what, outcome.failed, outcome.requests, outcome.first, outcome.is_valid, is_ours
        )
        self.found.append(failure)
        print(f"FAILED: {system}: {what}: {outcome.failed} failed: {outcome.first}", file=sys.stderr)

    @contextmanager
    def recorded(self, system: str, what: str, *, is_ours: bool = True) -> Iterator[None]:
        """Record what ends a step, and go on after it."""
        try:
            yield
        except NotMeasured as end:
            self.add(system, what, end.outcome, is_ours=is_ours)
        except (Failed, OSError) as end:
            outcome = Outcome()
            outcome.fail(end)
            self.add(system, what, outcome, is_ours=is_ours)

    @property
    def exit_code(self) -> int:
        """1 if Tessera failed; the failure of a peer is none of ours."""
        return 1 if any(failure.is_ours for failure in self.found) else 0

    def text(self) -> str:
        """Return the table of the failures and the line that names who failed; one line without failures."""
        if not self.found:
            return "No request failed."
        return f"{failures_table(self.found)}\n\n{self.summary()}"

    def summary(self) -> str:
        """Return the line that names who failed, and in what."""
        named: dict[str, dict[str, None]] = {}
        for failure in self.found:
            named.setdefault(failure.system, {})[failure.what] = None
        systems = (f"{system} ({', '.join(what)})" for system, what in named.items())
        return f"FAILED: {'; '.join(systems)}."

    def finish(self) -> None:
        """Print the failures after the tables, and end the run with its exit code."""
        print(f"\n{self.text()}")
        sys.exit(self.exit_code)


def failures_table(failures: Sequence[Failure]) -> str:
    """Return a table of failures in Markdown."""
    lines = [
        "| system | measured | failed | of | first failure | figure |",
        "| --- | --- | ---: | ---: | --- | --- |",
    ]
    for one in failures:
        counts = f"{one.failed:,} | {one.requests:,}" if one.requests > 1 else f"{one.failed:,} | "
        first = one.first.replace("|", "\\|")
        used = "valid" if one.is_valid else "not valid"
        lines.append(f"| {one.system} | {one.what} | {counts} | {first} | {used} |")
    return "\n".join(lines)


def excerpt(what: object) -> str:
    """Return the beginning of a text in one line."""
    text = " ".join(str(what).split())
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT]}..."
