"""Measure the import and the export of users, beside what the databases do with the bare rows.

    python -m benchmarks.bulk                     200,000 rows, on both databases
    python -m benchmarks.bulk --rows 1000000

The rows have names from several scripts and ready-made hashes. The import is that of `tessera user import`,
the export that of `tessera user export`, each in a process of its own, of which the peak memory is
told. Beside it stands the same rows, as they are stored, by a bare COPY with psycopg or a bare
executemany with sqlite3, in one transaction into the same table with the same indexes; and the same
columns by COPY TO, or by a plain SELECT that is read to its end. `us` is CPU time of the process a row,
without that of PostgreSQL's. Progress goes to stderr, a table in
Markdown to stdout. If the work on one database fails, the other one is measured all the same, and the exit
code is 1.
"""

import argparse
import csv
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks import tessera
from benchmarks.failures import Failed, Failures
from benchmarks.measuring import ROOT, markdown, report
from benchmarks.postgresql import own_database

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGFzaGFzaGFzaGFzaGFzaGFzaGFzaGFzaGFzaGE"
NAMES = (
    "mina",
    "ken",
    "zo\u00eb",
    "J\u00f6rg",
    "\u0416\u043e\u0440\u0430",
    "\uae40\ubbfc\uc544",
    "\u5c0f\u660e",
    "\u1f08\u03bb\u03ad\u03be\u03b9\u03bf\u03c2",
)


def write_rows(file: Path, count: int) -> None:
    """Write users with names from several scripts."""
    chance = random.Random(5)
    with file.open("w", encoding="utf-8") as output:
        for number in range(count):
            name = chance.choice(NAMES)
            local = name if name.isascii() else "user"
            row = {
                "id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
                "username": f"{name}{number}",
                "email": f"{local}.{number}@mail{number % 997}.example.com",
                "email_verified": number % 3 > 0,
                "display_name": f"{name} {number % 89}",
                "locale": chance.choice(("en", "ko-KR", None)),
                "metadata": {"theme": "dark"} if number % 4 == 0 else {},
                "created_at": f"2026-{1 + number % 12:02}-{1 + number % 28:02}T09:30:00.{number % 10**6:06}Z",
                "last_seen_at": "2026-11-22T09:31:00.000000Z",
                "password_hash": HASH,
            }
            output.write(json.dumps(row, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Run:
    """What something took: seconds, those of its process on a core, and at most so many MiB."""

    seconds: float
    cpu: float
    memory: float = 0.0


def tessera_command(environ: dict[str, str], *arguments: str) -> Run:
    """Run a command of Tessera."""
    code = (
        "import sys, time\n"
        "from api.cli import main\n"
        "began, used = time.monotonic(), time.process_time()\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print(time.monotonic() - began, time.process_time() - used)\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"tessera {' '.join(arguments)} failed: see above")
    times, peak = done.stdout.splitlines()[-2:]
    seconds, used = map(float, times.split())
    return Run(seconds, used, int(peak) / 1024)


class Clock:
    """Time, and CPU time of this process, since it was made."""

    def __init__(self) -> None:
        self._began, self._used = time.monotonic(), time.process_time()

    def read(self) -> "Run":
        return Run(time.monotonic() - self._began, time.process_time() - self._used)


class PostgreSQL:
    """The bare ways of PostgreSQL."""

    name = "PostgreSQL"
    bare_import, bare_export = "COPY FROM", "COPY TO"

    def __init__(self, url: str) -> None:
        self.url: str | None = url

    def export(self, kept: Path) -> Run:
        """Write the table to a file by COPY."""
        clock = Clock()
        with (
            psycopg.connect(self.url or "") as connection,
            kept.open("wb") as output,
            connection.cursor().copy("COPY users TO STDOUT") as copy,
        ):
            for piece in copy:
                output.write(piece)
        return clock.read()

    def empty(self) -> None:
        """Remove all users, and what they left."""
        with psycopg.connect(self.url or "", autocommit=True) as connection:
            connection.execute("TRUNCATE users, user_imports CASCADE")
            connection.execute("VACUUM (ANALYZE) users")

    def bring_in(self, kept: Path) -> Run:
        """Read the table from a file by COPY."""
        clock = Clock()
        with psycopg.connect(self.url or "") as connection, kept.open("rb") as source:
            with connection.cursor().copy("COPY users FROM STDIN") as copy:
                while piece := source.read(1 << 20):
                    copy.write(piece)
            connection.commit()
        return clock.read()


class SQLite:
    """The bare ways of SQLite."""

    name = "SQLite"
    bare_import, bare_export = "executemany", "SELECT"
    url: str | None = None

    def __init__(self, file: Path) -> None:
        self._file = file

    def export(self, kept: Path) -> Run:
        """Read the whole table. The rows are kept for `bring_in`."""
        with sqlite3.connect(self._file) as connection:
            clock = Clock()
            for _ in connection.execute("SELECT * FROM users ORDER BY id"):
                pass
            found = clock.read()
            with kept.open("w", encoding="utf-8", newline="") as output:
                writer = csv.writer(output)
                for row in connection.execute("SELECT * FROM users ORDER BY rowid"):
                    writer.writerow(["\0" if value is None else value for value in row])
        return found

    def empty(self) -> None:
        """Remove all users, and what they left."""
        connection = sqlite3.connect(self._file, isolation_level=None)
        connection.execute("PRAGMA foreign_keys=OFF")
        for table in ("users", "user_imports"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608  # a constant
        connection.execute("VACUUM")
        connection.close()

    def bring_in(self, kept: Path) -> Run:
        """Insert the rows by executemany, in one transaction as durable as Tessera's."""
        with sqlite3.connect(self._file) as connection, kept.open(encoding="utf-8", newline="") as source:
            connection.execute("PRAGMA synchronous=FULL")
            width = len(connection.execute("SELECT * FROM users LIMIT 0").description)
            places = ", ".join("?" * width)
            rows = [[None if cell == "\0" else cell for cell in row] for row in csv.reader(source)]
            clock = Clock()
            connection.executemany(f"INSERT INTO users VALUES ({places})", rows)  # noqa: S608  # of marks
            connection.commit()
            return clock.read()


def measure(database: PostgreSQL | SQLite, folder: Path, rows: Path, count: int) -> list[list[str]]:
    """Return the lines of the table for one database."""
    environ = tessera.environment(folder, database.url) | {"TESSERA_PORT": "8000"}
    tessera.migrate(environ)
    report(f"{database.name}: importing")
    imported = tessera_command(environ, "user", "import", str(rows))
    first, second, kept = folder / "first.ndjson", folder / "second.ndjson", folder / "kept"
    report(f"{database.name}: exporting")
    exported = tessera_command(environ, "user", "export", str(first))
    bare_export = database.export(kept)
    database.empty()
    report(f"{database.name}: importing bare rows")
    bare_import = database.bring_in(kept)
    database.empty()
    report(f"{database.name}: importing the export, and exporting it again")
    again = tessera_command(environ, "user", "import", str(first))
    tessera_command(environ, "user", "export", str(second))
    if first.read_bytes() != second.read_bytes():
        raise Failed("the second export differs from the first one")
    return [
        _line(database, "import", count, imported, bare_import, database.bare_import),
        _line(database, "import of an export", count, again, bare_import, database.bare_import),
        _line(database, "export", count, exported, bare_export, database.bare_export),
    ]


def _line(
    database: PostgreSQL | SQLite, what: str, count: int, ours: Run, bare: Run, bare_name: str
) -> list[str]:
    rates = [f"{count / ours.seconds:,.0f}", f"{bare_name}: {count / bare.seconds:,.0f}"]
    cpu = [f"{run.cpu / count * 1e6:,.0f}" for run in (ours, bare)]
    return [what, database.name, *rates, f"{bare.seconds / ours.seconds:.2f}", *cpu, f"{ours.memory:,.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bulk",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=200_000, help="users to import (%(default)s)")
    parser.add_argument("--on", choices=("sqlite", "postgresql"), help="measure this database alone (both)")
    options = parser.parse_args()
    lines: list[list[str]] = []
    failures = Failures()
    with tempfile.TemporaryDirectory() as name, databases(Path(name), options.on) as found:
        rows = Path(name) / "rows.ndjson"
        report(f"writing {options.rows:,} rows")
        write_rows(rows, options.rows)
        for folder, database in found.items():
            with failures.recorded(f"Tessera, {database.name}", "import and export"):
                lines += measure(database, folder, rows, options.rows)
    head = ("what", "on", "rows/s", "bare rows/s", "of bare", "us", "bare us", "peak MiB")
    print(markdown("llrrrrrr", head, lines))
    failures.finish()


@contextmanager
def databases(folder: Path, only: str | None) -> Iterator[dict[Path, PostgreSQL | SQLite]]:
    """Yield each database that there is, or `only` one, by the folder of its files."""
    found: dict[Path, PostgreSQL | SQLite] = {}
    with ExitStack() as stack:
        if only != "postgresql":
            found[folder / "sqlite"] = SQLite(folder / "sqlite" / "tessera.db")
        own = None if only == "sqlite" else stack.enter_context(own_database())
        if own is not None:
            found[folder / "postgresql"] = PostgreSQL(own.url)
        for each in found:
            each.mkdir()
        yield found


if __name__ == "__main__":
    main()
