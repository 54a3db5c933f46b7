"""What a run found: every figure of every round, and their medians."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.measuring import Sample


@dataclass(frozen=True)
class Figure:
    """One round of one workload; all but the rate and the times are CPU microseconds a request."""

    us: float
    database_us: float | None
    requests_per_second: float
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, sample: Sample) -> "Figure":
        """Return the figures of a measurement."""
        times = sample.percentile(0.5), sample.percentile(0.99)
        return cls(sample.microseconds, sample.database_microseconds, sample.rate, *times)


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

    def __str__(self) -> str:
        return f"{self.system}, {self.storage}" if self.storage else self.system

    @property
    def is_peer(self) -> bool:
        """Whether it is what people use in place of Tessera: a floor hashes nothing."""
        return bool(self.hash) and not self.system.startswith("Tessera")

    @property
    def start(self) -> float:
        """Milliseconds to the first answer."""
        return statistics.median(self.start_ms)

    @property
    def idle(self) -> float:
        """MiB before the load."""
        return statistics.median(self.idle_mib)

    @property
    def loaded(self) -> float:
        """MiB after the load."""
        return statistics.median(self.loaded_mib)

    def us(self, workload: str) -> float | None:
        """Return the server's CPU microseconds a request, None when it was not asked that."""
        return self.median(workload, "us")

    def database_us(self, workload: str) -> float | None:
        """Return those of the database, None where it cannot be seen, or is none."""
        return self.median(workload, "database_us")

    def median(self, workload: str, name: str) -> float | None:
        """Return the median of a figure over the rounds."""
        found = [getattr(figure, name) for figure in self.workloads.get(workload, ())]
        return statistics.median(found) if found and None not in found else None


@dataclass(frozen=True)
class Throughput:
    """What so many processes of a service answered on all cores; `client_us` is the load generator's."""

    storage: str
    processes: int
    requests_per_second: float
    us: float
    database_us: float | None
    client_us: float

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
        path.write_text(
            json.dumps(_rounded(asdict(self)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def medians(found: Sequence[Throughput], storage: str, processes: int) -> Throughput | None:
    """Return the median of the rounds of so many processes, by their rate."""
    rounds = [one for one in found if (one.storage, one.processes) == (storage, processes)]
    return sorted(rounds, key=lambda one: one.requests_per_second)[len(rounds) // 2] if rounds else None


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 2) if isinstance(value, float) else value
