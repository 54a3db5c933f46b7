"""Tables of Tessera's own figures: each request, what is not the hash, ratios, one process and two."""

import statistics
from collections.abc import Callable

from benchmarks.figures import Record, Run, Throughput, medians
from benchmarks.measuring import markdown
from benchmarks.postgresql import STORAGES
from benchmarks.systems import BARE, HASHLESS, LETTERLESS, OURS, depth_among

SHARES = ("server", "PostgreSQL", "client")
REQUESTS = {
    "liveness": "`GET /health/live`",
    "own profile": "`GET /v1/users/me`",
    "unchanged profile": "the same, 304 by `If-None-Match`",
    "garbage token": "the same, 401 for garbage",
    "forged token": "the same, 401 for a forged signature",
    "refresh": "`POST /v1/sessions/refresh`",
    "sign-in": "`POST /v1/sessions`",
    "sign-up": "`POST /v1/users`",
    "first page": "`GET /v1/users`, the first 50 of 100,000",
    "deep page": "the same, 50,000 deep",
}


def all_of(run: Run) -> str:
    """Return all tables, each with its heading; nothing when Tessera was not measured."""
    tables = {
        "Tessera's requests": own_requests,
        "A sign-in beside its hash": beside_the_hash,
        "A sign-up beside its letter": beside_the_letter,
        "Ratios, and what was aimed at": goals,
        "One process and two": processes,
    }
    return "\n\n".join(f"## {name}\n\n{table(run)}" for name, table in tables.items()) if ours(run) else ""


def own_requests(run: Run) -> str:
    """Return the table of Tessera's own requests, and of the bare route."""
    bare = run.record(BARE, "")
    floor = None if bare is None else bare.us("own profile")
    head = ("request", "on", "us", "PostgreSQL us", "x bare", "requests/s", "p50 ms", "p99 ms")
    rows = [] if bare is None else [_detail("bare Flask route", bare, "own profile", floor)]
    for workload, called in REQUESTS.items():
        name = among(run, called)
        rows += [
            _detail(name, one, workload, floor)
            for one in ours(run)
            if workload in one.workloads or workload in one.failed
        ]
    return markdown("llrrrrrr", head, rows)


def _detail(name: str, record: Record, workload: str, floor: float | None) -> list[str]:
    us = record.us(workload)
    times = (record.median(workload, figure) for figure in ("p50_ms", "p99_ms"))
    return [
        name,
        record.storage,
        _with_failures(number(us), record.failed.get(workload, 0)),
        number(record.database_us(workload)),
        ratio(us, floor),
        number(record.median(workload, "requests_per_second")),
        *("" if time is None else f"{time:.1f}" for time in times),
    ]


def beside_the_hash(run: Run) -> str:
    """Return the table of what a sign-in costs that is not the hash."""
    if not run.hash_us or not ours(run):
        return ""
    one_hash = statistics.median(run.hash_us)
    rows = []
    for record in ours(run):
        apart, whole = run.record(HASHLESS, record.storage), record.us("sign-in")
        less = None if whole is None else whole - one_hash
        cost = None if apart is None else cost_of(apart, "sign-in, hash apart")
        rows.append([record.storage, number(whole), number(one_hash), number(less), cost or ""])
    head = ("on", "sign-in", "one hash", "the difference", "sign-in, its hash free")
    sentence = (
        "The difference is that of two large numbers, and much of it noise. So there is a second Tessera, in "
        "which argon2 says yes at once: its sign-in is what is not the hash."
    )
    return f"{sentence}\n\n{markdown('lrrrr', head, rows)}"


def beside_the_letter(run: Run) -> str:
    """Return the table of what a sign-up costs of which no letter is written, as the peers do it."""
    rows = []
    for record in ours(run):
        peers = [peer for peer in run.peers(record.storage) if peer.us("sign-up") is not None]
        best = min(peers, key=lambda peer: peer.us("sign-up") or 0, default=None)
        theirs = f"{cost_of(best, 'sign-up')} {best.system}" if best else ""
        apart = cost_of(run.record(LETTERLESS, record.storage), "sign-up, letter apart")
        rows.append([record.storage, cost_of(record, "sign-up"), apart, theirs])
    head = ("on", "sign-up", "the same, no letter", "best peer, which sends none")
    sentence = (
        "Tessera sends a letter that confirms the address; the peers, as they are set up here, send none. A "
        "third Tessera, with `TESSERA_FEATURES=-emails`, does the same work as they:"
    )
    return f"{sentence}\n\n{markdown('lrrr', head, rows)}"


def goals(run: Run) -> str:
    """Return the table of what was aimed at, as ratios within this run."""
    bare = run.record(BARE, "")
    floor = None if bare is None else bare.us("own profile")

    def times(workload: str, other: str) -> Callable[[Record], str]:
        return lambda record: ratio(record.us(workload), record.us(other))

    def apart(record: Record) -> str:
        hashless = run.record(HASHLESS, record.storage)
        cost = None if hashless is None else hashless.us("sign-in, hash apart")
        return ratio(cost, record.us("own profile"))

    wanted: list[tuple[str, str, Callable[[Record], str]]] = [
        ("own profile / bare Flask route", "3.0", lambda record: ratio(record.us("own profile"), floor)),
        ("refresh / own profile", "2.4", times("refresh", "own profile")),
        ("sign-in without its hash / own profile", "1.6", apart),
        ("first page of 50 / own profile", "3.0", times("first page", "own profile")),
        ("deep page / first page", "1.1", times("deep page", "first page")),
        ("start, ms", "700", lambda record: number(record.start)),
        ("memory idle, MiB", "90", lambda record: number(record.idle)),
    ]
    rows = [[name, most, *(of(record) for record in ours(run))] for name, most, of in wanted]
    return markdown("lr" + "r" * len(ours(run)), ["", "at most", *(r.storage for r in ours(run))], rows)


def processes(run: Run) -> str:
    """Return what two processes answer beside one, and what the cores were busy with."""
    pairs = [
        tuple(medians(run.throughput, record.storage, count) for count in (1, 2)) for record in ours(run)
    ]
    found = [(one, two) for one, two in pairs if one is not None and two is not None]
    if not found:
        return "No figures: it was not measured, or it failed."
    sentence = (
        f"Own profile, 32 connections of {run.load_generator}, nobody pinned on a core: the server, "
        "PostgreSQL and the client share both. Beside one process the other two have the second core nearly "
        "for themselves; beside two they take their time from them, so their share bounds the growth:"
    )
    head = ["on", "processes", "requests/s", *(f"{name} us" for name in SHARES)]
    head += [f"{name}, cores" for name in SHARES]
    rows = [_throughput(one) for pair in found for one in pair]
    told = "\n".join(_growth(one, two) for one, two in found)
    return "\n\n".join([sentence, told, markdown("l" + "r" * (len(head) - 1), head, rows)])


def _growth(one: Throughput, two: Throughput) -> str:
    rates = two.requests_per_second, 2e6 / sum(two.shares), 2e6 / two.us
    growth, room, alone = (rate / one.requests_per_second for rate in rates)
    return (
        f"- {one.storage}: two processes answer {growth:.2f} times as many requests. With both cores always "
        f"busy it would be {room:.2f} times, and with both for the server alone {alone:.2f} times."
    )


def _throughput(found: Throughput) -> list[str]:
    busy = [f"{us * found.requests_per_second / 1e6:.2f}" for us in found.shares]
    costs = [number(us) for us in found.shares]
    return [found.storage, str(found.processes), number(found.requests_per_second), *costs, *busy]


def ours(run: Run) -> list[Record]:
    """Return what was found about Tessera on each database."""
    return [found for storage in STORAGES if (found := run.record(OURS, storage)) is not None]


def cost_of(record: Record | None, workload: str) -> str:
    """Return the microseconds of the server, those of PostgreSQL, and how many requests failed."""
    if record is None:
        return ""
    us, more = record.us(workload), record.database_us(workload)
    cost = number(us) if more is None else f"{number(us)} + {number(more)}"
    return _with_failures(cost, record.failed.get(workload, 0))


def _with_failures(cost: str, failed: int) -> str:
    return f"{cost or 'not valid'} ({failed:,} failed)" if failed else cost


def among(run: Run, label: str) -> str:
    """Return a label with the number of users of this run, and of those before the deep page."""
    return label.replace("100,000", f"{run.users:,}").replace("50,000", f"{depth_among(run.users):,}")


def number(value: float | None, unit: str = "") -> str:
    """Return a figure with its unit; nothing for what was not measured."""
    return "" if value is None else f"{value:,.0f} {unit}".strip()


def ratio(value: float | None, other: float | None) -> str:
    """Return how many times as much a figure is."""
    return "" if value is None or not other else f"{value / other:.1f}"
