"""Benchmarks start a private PostgreSQL where one is installed and none answers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from benchmarks.postgresql import installed_programs
from tests.support.servers import ROOT

pytestmark = pytest.mark.long

USE = """
from benchmarks import postgresql
postgresql.URL = "postgresql://postgres@127.0.0.1:1/postgres"
with postgresql.own_database() as database:
    if database is not None:
        print(database.url, database.watcher.execute("SHOW data_directory").fetchone()[0])
"""


def use(**environ: str) -> "subprocess.CompletedProcess[str]":
    """Use a database in a process, for which no server answers at the default."""
    variables = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run(
        [sys.executable, "-c", USE], cwd=ROOT, env=variables, capture_output=True, text=True, check=True
    )


def test_a_private_server_is_started_and_removed_at_the_end() -> None:
    if installed_programs() is None:
        pytest.skip("PostgreSQL is not installed")
    done = use()
    assert "starting a private one" in done.stderr
    url, folder = done.stdout.split()
    assert re.search(r"/tessera_bench_\w+$", url)
    assert not Path(folder).exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=2)


def test_no_server_is_started_in_place_of_one_that_is_named() -> None:
    done = use(TEST_POSTGRESQL_URL="postgresql://postgres@127.0.0.1:1/postgres")
    assert done.stdout == ""
    assert "(TEST_POSTGRESQL_URL): it is left out" in done.stderr
