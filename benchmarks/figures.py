"""What a run found: every figure of every round, and their medians."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.failures import Failures
from benchmarks.measuring import Sample
from benchmarks.peers.apps.common import USERS


@dataclass(frozen=True)
class Figure:
    """One round of one workload: CPU microseconds a request, the rate, times, and what failed.

    A figure is not valid if too many requests failed; no median counts it.
    """

    us: float
    database_us: float | None
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    failed: int = 0
    first_failure: str = ""
    is_valid: bool = True

    @classmethod
    def of(cls, sample: Sample) -> "Figure":
        """Return the figures of a measurement."""
        return cls(
            us=sample.microseconds,
            database_us=sample.database_microseconds,
            requests_per_second=sample.rate,
            p50_ms=sample.percentile(0.5),
            p99_ms=sample.percentile(0.99),
            failed=sample.outcome.failed,
            first_failure=sample.outcome.first,
            is_valid=sample.outcome.is_valid,
        )


@dataclass
class Record:
    """All that was found about one system: a list has an item for each round."""

    system: str
    storage: str
    hash: str
    start_ms: list[float] = field(default_factory=list)
    idle_mib: list[float] = field(default_factory=list)
    loaded_mib: list[float] = field(default_factory=list)
    workloads: dict[str, list[Figure]] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)  # requests, by workload, with or without a figure

    def __str__(self) -> str:
        return f"{self.system}, {self.storage}" if self.storage else self.system

    @property
    def is_peer(self) -> bool:
        """Whether it is what people use in place of Tessera: a floor hashes nothing."""
        return bool(self.hash) and not self.system.startswith("Tessera")

    @property
    def start(self) -> float | None:
        """Milliseconds to the first answer."""
        return _median(self.start_ms)

    @property
    def idle(self) -> float | None:
        """MiB before the load."""
        return _median(self.idle_mib)

    @property
    def loaded(self) -> float | None:
        """MiB after the load."""
        return _median(self.loaded_mib)

    def us(self, workload: str) -> float | None:
        """Return the server's CPU microseconds a request, None when it was not asked that."""
        return self.median(workload, "us")

    def database_us(self, workload: str) -> float | None:
        """Return those of the database, None where it cannot be seen, or is none."""
        return self.median(workload, "database_us")

    def median(self, workload: str, name: str) -> float | None:
        """Return the median of a figure over the rounds in which it is valid."""
        rounds = [figure for figure in self.workloads.get(workload, ()) if figure.is_valid]
        return _median([getattr(figure, name) for figure in rounds])


@dataclass(frozen=True)
class Throughput:
    """What so many processes of a service answered on all cores; `client_us` is the load generator's."""

    storage: str
    processes: int
    requests_per_second: float
    us: float
    database_us: float | None
    client_us: float
    failed: int = 0
    first_failure: str = ""
    is_valid: bool = True

    @property
    def shares(self) -> tuple[float, float, float]:
        """The microseconds a request of the server, the database and the client."""
        return self.us, self.database_us or 0, self.client_us


@dataclass
class Run:
    """A whole run: when and where it was, and what it found."""

    taken: str
    command: str
    machine: str
    versions: dict[str, str]
    load_generator: str
    records: list[Record] = field(default_factory=list)
    hash_us: list[float] = field(default_factory=list)
    throughput: list[Throughput] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)
    users: int = USERS

    def record(self, system: str, storage: str) -> Record | None:
        """Return what was found about a system, None when it was not measured."""
        for record in self.records:
            if (record.system, record.storage) == (system, storage):
                return record
        return None

    def peers(self, storage: str) -> list[Record]:
        """Return what was found about the peers on a database."""
        return [record for record in self.records if record.is_peer and record.storage == storage]

    def save(self, path: Path) -> None:
        """Write every figure as JSON."""
        found = _rounded({**asdict(self), "failures": [asdict(one) for one in self.failures.found]})
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def medians(found: Sequence[Throughput], storage: str, processes: int) -> Throughput | None:
    """Return the median of the rounds of so many processes, by their rate."""
    wanted = (storage, processes)
    rounds = [one for one in found if one.is_valid and (one.storage, one.processes) == wanted]
    return sorted(rounds, key=lambda one: one.requests_per_second)[len(rounds) // 2] if rounds else None


def _median(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return statistics.median(found) if found and len(found) == len(values) else None


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 2) if isinstance(value, float) else value
