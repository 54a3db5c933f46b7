"""Fuzz the contract over the live service: `python -m tests.fuzz`, as `make fuzz` does."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import click
import pytest
from rich.console import Console
from rich.table import Table

from tests.support import databases
from tests.support.ports import free_port
from tests.support.servers import ROOT, serving

CALLERS = ("user", "administrator", "nobody")
LOG = "server.log"
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
console = Console()


@dataclass(frozen=True)
class Seen:
    """What came of the time that one caller had on one database."""

    database: str
    caller: str
    code: int
    answers: Mapping[str, Mapping[str, int]]
    findings: Sequence[Mapping[str, Any]]

    @property
    def cases(self) -> int:
        return sum(sum(statuses.values()) for statuses in self.answers.values())


@contextmanager
def service(kind: str) -> Iterator[dict[str, str]]:
    """Serve a new database by two processes in production mode; yields the service's variables."""
    with tempfile.TemporaryDirectory() as name, databases.fresh(kind, Path(name)) as url:
        port = free_port()
        environ = {
            "TESSERA_ENV": "production",
            "TESSERA_SECRET_KEY": secrets.token_hex(32),
            "TESSERA_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "TESSERA_MAIL_URL": f"file:{name}",
            "TESSERA_DATABASE_URL": url,
            "TESSERA_DATA_DIR": name,
            "TESSERA_LIMITS": "off",
            "TESSERA_WORKERS": "2",
        }
        with serving(environ, Path(name) / LOG, port=port):
            yield environ


def fuzz(database: str, caller: str, seconds: int, seed: int) -> Seen:
    """Run Schemathesis as one caller on a database of its own."""
    with service(database) as environ, tempfile.NamedTemporaryFile(suffix=".json") as tally:
        variables = {**os.environ, **environ, "FUZZ_CALLER": caller, "FUZZ_TALLY": tally.name}
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "run"]
        options = [f"--max-time={seconds}", f"--seed={seed}"]
        url = f"{environ['TESSERA_PUBLIC_URL']}/openapi.json"
        ended = subprocess.run([*command, url, *options], cwd=ROOT, env=variables, check=False)
        told = json.loads(tally.read() or b'{"answers": {}, "findings": []}')
        findings = [*told["findings"], *_failures(Path(environ["TESSERA_DATA_DIR"], LOG))]
    return Seen(database, caller, ended.returncode, told["answers"], findings)


def _failures(log: Path) -> Iterator[dict[str, Any]]:
    """Yield as findings what the service wrote down as errors: work that fails later is seen nowhere else."""
    for line in log.read_text(encoding="utf-8").splitlines():
        if '"level":"error"' in line or line.startswith("Traceback"):
            yield {"operation": "The service", "titles": ["failed"], "curl": line}


def summarise(seen: Sequence[Seen]) -> None:
    """Print how often each operation was asked and did what it is for, and every finding."""
    table = Table(title="Answers, and how many of them were 2xx")
    for heading in ("operation", *(f"{part.caller} on {part.database}" for part in seen)):
        table.add_column(heading, justify="right" if table.columns else "left", no_wrap=not table.columns)
    for label in sorted({label for part in seen for label in part.answers}):
        table.add_row(label, *(_reached(part.answers.get(label, {})) for part in seen))
    console.print(table)
    for part in seen:
        for finding in part.findings:
            console.rule(f"{finding['operation']} as {part.caller} on {part.database}")
            told = "\n".join([*finding["titles"], finding["curl"] or ""])
            console.print(told, markup=False, highlight=False, soft_wrap=True)
    findings, cases = sum(len(part.findings) for part in seen), sum(part.cases for part in seen)
    console.print(f"{cases} cases, {findings} findings.")


def _reached(statuses: Mapping[str, int]) -> str:
    well = sum(count for status, count in statuses.items() if status.startswith("2"))
    return f"{sum(statuses.values())} / {well}"


@click.command()
@click.option("--seconds", default=600, show_default=True, help="For each database, shared by the callers.")
@click.option("--database", type=click.Choice([*databases.KINDS, "both"]), default="both", show_default=True)
@click.option("--as", "who", type=click.Choice([*CALLERS, "all"]), default="all", show_default=True)
@click.option("--seed", type=int, help="Repeats what a run generated.")
def main(seconds: int, database: str, who: str, seed: int | None) -> None:
    """Hold the live service against its contract, by what Schemathesis makes of openapi.json.

    Exits with 1 when it finds something.
    """
    kinds = databases.KINDS if database == "both" else (database,)
    callers = CALLERS if who == "all" else (who,)
    seed = secrets.randbits(32) if seed is None else seed
    share = max(seconds // len(callers), 1)
    seen = []
    for kind, caller in product(kinds, callers):
        console.rule(f"{share} s as {caller} on {kind}, seed {seed}")
        try:
            seen.append(fuzz(kind, caller, share, seed))
        except pytest.skip.Exception as skipped:  # there is no PostgreSQL
            raise click.ClickException(str(skipped)) from None
    summarise(seen)
    sys.exit(int(any(part.code or part.findings for part in seen)))


if __name__ == "__main__":
    main()
