"""What a run found, for people: tables in Markdown, and a plot."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import own_tables
from benchmarks.bars import Bar, Panel, bars
from benchmarks.figures import Record, Run
from benchmarks.measuring import markdown
from benchmarks.own_tables import among, cost_of, number
from benchmarks.postgresql import STORAGES
from benchmarks.systems import BARE, HASHLESS, LETTERLESS, OURS

COMMON = {
    "own profile": "own profile",
    "forged token": "a forged token",
    "refresh": "refresh",
    "sign-in": "sign-in, with the hash",
    "sign-up": "sign-up, with the hash",
    "first page": "first 50 of 100,000 users",
    "deep page": "50 users, 50,000 deep",
}
COMPARED: dict[str, tuple[Callable[[Record], float | None], str]] = {
    **{name: (partial(Record.us, workload=workload), "us") for workload, name in COMMON.items()},
    "start": (lambda record: record.start, "ms"),
    "memory after the start": (lambda record: record.idle, "MiB"),
    "memory after the load": (lambda record: record.loaded, "MiB"),
}
PLOTTED = ("own profile", "refresh", "sign-in", "sign-up", "first page", "deep page")


def publish(run: Run, folder: Path) -> str:
    """Write the tables, the plot and all figures into a folder, and return the summary."""
    folder.mkdir(parents=True, exist_ok=True)
    run.save(folder / "figures.json")
    (folder / "performance.svg").write_text(plot(run), encoding="utf-8")
    (folder / "README.md").write_text(page(run), encoding="utf-8")
    return summary(run)


def page(run: Run) -> str:
    """Return the whole page."""
    parts = [
        "# What requests cost",
        "<!-- Written whole by the command below: what is added by hand is lost. -->",
        _origin(run),
        "![Server CPU microseconds a request, of Tessera and its peers](performance.svg)",
        "Server CPU microseconds a request, and behind the `+` those of PostgreSQL; less is better:",
        summary(run),
        *([run.failures.summary()] if run.failures.found else ()),
        "## Where a peer is better",
        better(run),
        "## Everybody",
        everybody(run),
        own_tables.all_of(run),
        "## Failures",
        run.failures.text(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _origin(run: Run) -> str:
    peers = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    beside = f", beside {peers}" if peers else ""
    return (
        f"`{run.command}`, on {run.machine}, on {run.taken}{beside}. All figures are medians of the rounds, "
        "of which every one is in [figures.json](figures.json); what they mean, and how they are taken, "
        "stands in [benchmarks/README.md](../../benchmarks/README.md#what-the-figures-mean)."
    )


def summary(run: Run) -> str:
    """Return the table of Tessera and the best peer at each workload."""
    head = ["", *(f"{whose}, {storage}" for storage in STORAGES for whose in (OURS, "best peer"))]
    rows = []
    for name in COMPARED:
        pairs = [(run.record(OURS, storage), best_peer(run, storage, name)) for storage in STORAGES]
        cells = [
            (_cell(ours, name), f"{_cell(best, name)} {best.system if best else ''}") for ours, best in pairs
        ]
        rows.append([among(run, name), *(cell.strip() for pair in cells for cell in pair)])
    return markdown("lrrrr", head, rows)


def _cell(record: Record | None, name: str) -> str:
    """Return what a record has in a row of the summary."""
    for workload, called in COMMON.items():
        if called == name:
            return cost_of(record, workload)
    of, unit = COMPARED[name]
    return number(None if record is None else of(record), unit)


def best_peer(run: Run, storage: str, name: str) -> Record | None:
    """Return the peer on a database that needs least, None without peers."""
    of, _ = COMPARED[name]
    found = [(value, peer) for peer in run.peers(storage) if (value := of(peer)) is not None]
    return min(found, key=lambda pair: pair[0])[1] if found else None


def better(run: Run) -> str:
    """Return what a peer does with less than Tessera, as a list, or a sentence."""
    if not any(record.is_peer for record in run.records):
        return "No peer was measured: `make bench-peers` installs them."
    lines = [line for storage in STORAGES for name in COMPARED for line in _better(run, storage, name)]
    return "\n".join(lines) or "Nowhere, in this run."


def _better(run: Run, storage: str, name: str) -> list[str]:
    of, unit = COMPARED[name]
    ours = run.record(OURS, storage)
    mine = None if ours is None else of(ours)
    if mine is None:
        return []
    found = {peer.system: of(peer) for peer in run.peers(storage)}
    less = {peer: theirs for peer, theirs in found.items() if theirs is not None and theirs < mine}
    told = ", ".join(f"{peer} {number(theirs, unit)}" for peer, theirs in less.items())
    return [f"- {among(run, name)}, {storage}: {told}; Tessera {number(mine, unit)}"] if less else []


def everybody(run: Run) -> str:
    """Return the table of all that was measured."""
    head = [
        "",
        "on",
        *(among(run, name) for name in COMMON.values()),
        "start, ms",
        "MiB, after the start",
        "MiB, after the load",
    ]
    rows = []
    for record in run.records:
        if record.system not in (HASHLESS, LETTERLESS):
            costs = [cost_of(record, workload) for workload in COMMON]
            others = [number(figure) for figure in (record.start, record.idle, record.loaded)]
            rows.append([record.system, record.storage, *costs, *others])
    return markdown("ll" + "r" * (len(head) - 2), head, rows)


def plot(run: Run) -> str:
    """Return the plot of what everybody's requests cost."""
    rows = [[_panel(run, storage, workload) for storage in STORAGES] for workload in PLOTTED]
    title = "Server CPU microseconds a request: less is better"
    subtitle = (
        "one process, 100,000 users; the light part is PostgreSQL's own; each workload has its scale, from 0"
    )
    subtitle = among(run, subtitle)
    return bars(title, subtitle, [f"on {storage}" for storage in STORAGES], rows)


def _panel(run: Run, storage: str, workload: str) -> Panel:
    ours, floor = run.record(OURS, storage), run.record(BARE, "")
    found = [] if ours is None else [_bar(ours, workload, "ours", OURS)]
    found += sorted((_bar(peer, workload, "peer", peer.system) for peer in run.peers(storage)), key=_length)
    if floor is not None:
        found.append(_bar(floor, workload, "floor", "bare Flask route"))
    return Panel(among(run, COMMON[workload]), [bar for bar in found if bar.value])


def _bar(record: Record, workload: str, kind: str, name: str) -> Bar:
    return Bar(name, record.us(workload) or 0, record.database_us(workload) or 0, kind)


def _length(bar: Bar) -> float:
    return bar.value + bar.more
