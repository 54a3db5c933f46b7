"""Run the tests in random orders, and each module alone: a test must not depend on what ran before it.

`python -m tests.orders --orders 10` (or `make test-orders ORDERS=10`).
"""

import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import click

from tests.services import POSTGRESQL, REDIS, ROOT

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not long")
NOBODY = {
    POSTGRESQL.variable: "postgresql://postgres@127.0.0.1:1/none",
    REDIS.variable: "redis://127.0.0.1:1/0",
}
NO_TESTS = 5  # pytest's exit code for a module whose tests are all long


@click.command()
@click.option("--orders", default=5, show_default=True, help="Number of random orders.")
@click.option("--seed", "seeds", type=int, multiple=True, help="Run this order, in place of a random one.")
@click.option("--modules/--no-modules", default=True, show_default=True, help="Run each module alone.")
@click.option("--servers/--no-servers", default=True, show_default=True, help="Use PostgreSQL and Redis.")
def main(orders: int, seeds: Sequence[int], modules: bool, servers: bool) -> None:
    """Run the tests in random orders, and each module alone.

    Exits with 1 if a run failed; it prints the failed tests, and the seed that repeats their order.
    """
    environ = os.environ | ({} if servers else NOBODY)
    chosen = seeds or [secrets.randbits(32) for _ in range(orders)]
    runs = {f"seed {seed}": _in_order(seed) for seed in chosen}
    if modules:
        files = sorted(ROOT.glob("tests/**/test_*.py"))
        runs |= {str(file.relative_to(ROOT)): [*PYTEST, str(file)] for file in files}
    failed = [name for name, command in runs.items() if not _passes(name, command, environ)]
    click.echo(f"{len(runs) - len(failed)} runs passed, {len(failed)} failed")
    sys.exit(bool(failed))


def _in_order(seed: int) -> list[str]:
    return [*PYTEST, "-n", "2", "--dist", "loadscope", f"--randomly-seed={seed}"]


def _passes(name: str, command: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Run one command, print how it ended, and return whether every test passed."""
    begun = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    passed = done.returncode in (0, NO_TESTS)
    click.echo(f"{name}: {_last_line(done.stdout)} [{time.monotonic() - begun:.0f} s]")
    if not passed:
        click.echo(done.stdout + done.stderr)
    return passed


def _last_line(output: str) -> str:
    """Return the line in which pytest counts the tests."""
    return next((line for line in reversed(output.splitlines()) if re.search(r" in [\d.]+s", line)), "")


if __name__ == "__main__":
    main()
