"""The list of users at a million: what a page costs, and whether that grows with how many there are.

    python -m benchmarks.lists                              100,000 and 1,000,000 users; ten minutes
    python -m benchmarks.lists --users 100000 --postgresql  10,000 and 100,000, on PostgreSQL alone
    python -m benchmarks.lists --plot                       1,000 to 1,000,000; writes docs/lists.svg as well

Each call is made in this process, from the filters to the rows and the cursor, without HTTP: what comes on
top is the same whatever is asked for. Rounds of all sizes alternate, so that a drift of the machine meets all
of them. The databases are this run's own, and dropped at the end. Progress goes to stderr, tables to stdout.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from flask import Flask

from api.app import create_app
from api.kit.db import dispose
from api.kit.pages import Cursors, Page
from api.users import listing
from benchmarks import tessera
from benchmarks.charts import Line, chart
from benchmarks.measuring import ROOT, markdown, report
from benchmarks.population import BEGIN, SPAN, Row, fill_postgresql, fill_sqlite, people
from benchmarks.postgresql import STORAGES, own_database

PLOT = ROOT / "docs" / "lists.svg"
FEWEST = 1000  # users
FEWEST_TO_PLOT = 20_000  # users: a plot begins at a thousandth of them
PLOTTED = (
    "first page",
    "page 90 % deep",
    "search, broad: `garcia`",
    "search, narrow: part of a username",
    "`count=exact`",
)
Call = Callable[[], Page]


@dataclass(frozen=True)
class Population:
    """So many users on a database, and the service on it."""

    database: str
    users: int
    app: Flask

    def calls(self) -> dict[str, Call]:
        """Return what is measured, by its name."""
        deep_down = self._deep(0.9)
        one, namesake = _two_of(self.users)
        half = (BEGIN + SPAN / 2).replace(microsecond=0)
        broad = self._after_first(q="garcia")
        return {
            "first page": self._list(),
            "first page, `sort=created_at`": self._list(sort="created_at"),
            "page 90 % deep": deep_down,
            "page 90 % deep, `sort=created_at`": self._deep(0.9, sort="created_at"),
            "`email`, exact": self._list(email=one[4]),
            "`username`, exact": self._list(username=one[1]),
            "`status=active`": self._list(status="active"),
            "`status=suspended`": self._list(status="suspended"),
            "`email_verified=true`": self._list(email_verified=True),
            "`email_verified=false`": self._list(email_verified=False),
            "`created_after`, `created_before`": self._list(
                created_after=half, created_before=half + timedelta(days=30)
            ),
            "`role`, one in 16": self._list(role="member"),
            "`role`, one in 256": self._list(role="support"),
            "`last_seen_before`, common": self._list(last_seen_before=half + SPAN / 2),
            "`last_seen_before`, rare": self._list(last_seen_before=BEGIN + SPAN / 10),
            "`status=suspended`, `email_verified=false`": self._list(
                status="suspended", email_verified=False
            ),
            "search, broad: `garcia`": self._list(q="garcia"),
            "search, broad, next page": broad,
            "search, two letters: `zo`": self._list(q="zo"),
            "search, Korean: `김민수`": self._list(q="김민수"),
            "search, narrow: part of a username": self._list(q=one[1][1:]),
            "search, rare: `mina.smith`": self._list(q="mina.smith"),
            "search, whole address": self._list(q=namesake[4]),
            "search, nobody": self._list(q="zzyzx"),
            "`count=estimate`": self._list(count="estimate"),
            "`count=estimate`, `status=suspended`": self._list(count="estimate", status="suspended"),
            "`count=exact`": self._list(count="exact"),
            "`count=exact`, `q=garcia`": self._list(count="exact", q="garcia"),
        }

    def _list(self, **query: Any) -> Call:
        asked = {"limit": 50, "cursor": None, "sort": "-created_at", "count": "none"} | query

        def call() -> Page:
            with self.app.app_context():
                return listing.list_page(**asked)

        return call

    def _after_first(self, **query: Any) -> Call:
        return self._list(**query, cursor=self._list(**query)().next_cursor)

    def _deep(self, part: float, sort: str = "-created_at") -> Call:
        """Return a page so deep in the list that a part of all users comes before it.

        A cursor is made where a walk would have come to: to walk there would take 18,000 pages.
        """
        place = part if sort == "created_at" else 1 - part
        bound = "created_after" if sort == "created_at" else "created_before"
        found = self._list(sort=sort, limit=1, **{bound: BEGIN + SPAN * place})()
        with self.app.app_context():
            order = listing._ORDERS[sort]
            cursor = Cursors(order, {"caller": "None"}).to(found.items[0])
        return self._list(sort=sort, cursor=cursor)


@contextmanager
def populations(databases: Sequence[str], sizes: Sequence[int]) -> Iterator[list[Population]]:
    """Yield a service on a database of each kind and size, filled."""
    with ExitStack() as stack:
        found = []
        for database in databases:
            for users in sizes:
                report(f"{database}: {users:,} users")
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                url = None
                if database == "PostgreSQL":
                    own = stack.enter_context(own_database())
                    if own is None:
                        break
                    url = own.url
                environ = tessera.environment(folder, url)
                tessera.migrate(environ)
                fill_sqlite(folder / "tessera.db", users) if url is None else fill_postgresql(url, users)
                app = create_app({name: value for name, value in environ.items() if name != "TESSERA_PORT"})
                stack.callback(_dispose, app)
                found.append(Population(database, users, app))
        yield found


def _two_of(users: int) -> tuple[Row, Row]:
    """Return somebody three quarters through, and the next one, if any, called `mina.smith`."""
    rest = islice(people(users), users * 3 // 4, None)
    one = next(rest)
    return one, next((row for row in rest if row[4].startswith("mina.smith.")), one)


def _dispose(app: Flask) -> None:
    with app.app_context():
        dispose()


def measure(found: Sequence[Population], rounds: int) -> dict[tuple[str, int, str], float]:
    """Return the median milliseconds of each call by database, number of users and name."""
    taken: dict[tuple[str, int, str], list[float]] = {}
    calls = [((one.database, one.users, name), call) for one in found for name, call in one.calls().items()]
    names = list(found[0].calls())
    calls.sort(
        key=lambda pair: (pair[0][0], names.index(pair[0][2]))
    )  # the sizes of a call follow each other
    for number in range(rounds + 1):
        report(f"round {number} of {rounds}")
        for key, call in calls:
            begin = time.perf_counter()
            call()
            if number:  # the first one warms up
                taken.setdefault(key, []).append((time.perf_counter() - begin) * 1000)
    return {key: statistics.median(times) for key, times in taken.items()}


def table(measured: dict[tuple[str, int, str], float], database: str, sizes: Sequence[int]) -> str:
    """Return a table of the calls: milliseconds at each size, and the last beside the one before."""
    names = dict.fromkeys(name for kind, _, name in measured if kind == database)
    rows = []
    for name in names:
        times = [measured[database, users, name] for users in sizes]
        ratio = f"{times[-1] / times[-2]:.2f}" if len(times) > 1 else ""
        rows.append([name, *(f"{milliseconds:.2f}" for milliseconds in times), ratio])
    head = [database, *(f"{users:,} users, ms" for users in sizes), "x"]
    return markdown("l" + "r" * (len(head) - 1), head, rows)


def plot(measured: dict[tuple[str, int, str], float], databases: Sequence[str], sizes: Sequence[int]) -> str:
    """Return the figure of docs/lists.svg."""
    lines = [
        Line(f"{name.replace('`', '')}, {database}", [(n, measured[database, n, name]) for n in sizes])
        for database in databases
        for name in PLOTTED
    ]
    return chart("Cost of a call by the number of users", "users", "milliseconds (median)", lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lists",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--users",
        type=int,
        default=1_000_000,
        help="users in the larger database, 1000 at least; the smaller one has a tenth (%(default)s)",
    )
    add("--rounds", type=int, default=15, help="rounds of all calls, after one to warm up (%(default)s)")
    add("--sqlite", action="store_true", help="measure SQLite alone")
    add("--postgresql", action="store_true", help="measure PostgreSQL alone")
    add("--plot", action="store_true", help="measure at four sizes, and write a plot; --users 20000 at least")
    add("--to", type=Path, default=PLOT, metavar="FILE", help="file for the plot (docs/lists.svg)")
    options = parser.parse_args()
    fewest = FEWEST_TO_PLOT if options.plot else FEWEST
    if options.users < fewest or options.rounds < 1:
        parser.error(f"--users must be {fewest} at least, and --rounds 1")
    databases = [name for name in STORAGES if getattr(options, name.lower())]
    parts = (1000, 100, 10, 1) if options.plot else (10, 1)
    sizes = [options.users // part for part in parts]
    with populations(databases or STORAGES, sizes) as found:
        measured = measure(found, options.rounds)
    databases = list(dict.fromkeys(one.database for one in found))
    for database in databases:
        print(table(measured, database, sizes), end="\n\n")
    if options.plot:
        options.to.write_text(plot(measured, databases, sizes), encoding="utf-8")


if __name__ == "__main__":
    main()
