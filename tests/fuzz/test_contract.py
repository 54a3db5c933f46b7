"""CI's share of the fuzzing: a little of everything, with the same seed each time."""

import subprocess
import sys

import pytest

from tests.support.servers import ROOT

SECONDS, SEED = 30, 20261122


@pytest.mark.long
def test_the_live_service_keeps_the_contract(database: str) -> None:
    kind = database.partition(":")[0]
    arguments = [f"--database={kind}", f"--seconds={SECONDS}", f"--seed={SEED}"]
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-20000:] + ended.stderr
