"""The rules that every run of the tests keeps: what it leaves out, what CI does not accept, its servers."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.orders import NOBODY
from tests.services import POSTGRESQL, REDIS
from tests.support.servers import ROOT

pytestmark = pytest.mark.long

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_tests(tmp_path: Path) -> Run:
    """Run a file of tests under these rules, on a machine without servers."""

    def run(source: str, **environ: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "test_rules.py"
        file.write_text(f"import pytest\n{source}", encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider"]
        return subprocess.run(
            [*command, "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), str(file)],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **NOBODY, **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_what_needs_a_missing_server_is_left_out_and_reported_in_one_line(run_tests: Run) -> None:
    ended = run_tests("""
def test_that_runs(): pass
@pytest.mark.needs("Redis")
def test_of_redis(): pass
@pytest.mark.needs("PostgreSQL")
@pytest.mark.parametrize("n", [1, 2])
def test_of_postgresql(n): pass
""")
    assert ended.returncode == 0, ended.stdout
    assert "1 passed, 3 deselected" in ended.stdout
    assert [line for line in ended.stdout.splitlines() if "Redis" in line] == [
        "Not tested: 2 tests that need PostgreSQL and 1 test that needs Redis. "
        "To test that as well: make services; then make test."
    ]


def test_ci_leaves_nothing_out(run_tests: Run) -> None:
    ended = run_tests('@pytest.mark.needs("Redis")\ndef test_of_redis(): assert False', CI="true")
    assert "1 failed" in ended.stdout


def test_ci_skips_nothing(run_tests: Run) -> None:
    source = "def test_that_is_skipped(): pytest.skip('a reason')"
    assert run_tests(source).returncode == 0
    ended = run_tests(source, CI="true")
    assert ended.returncode == 1
    assert "CI skips nothing" in ended.stdout


def test_ci_accepts_no_slow_test_that_is_not_marked_long(run_tests: Run) -> None:
    source = "def test_that_is_slow():\n    import time; end = time.monotonic() + 2.1\n"
    source += "    while time.monotonic() < end: pass"
    assert run_tests(source).returncode == 0
    ended = run_tests(source, CI="true")
    assert ended.returncode == 1
    assert "not marked long, and takes 2.1 seconds" in ended.stdout
    assert run_tests(f"@pytest.mark.long\n{source}", CI="true").returncode == 0


def test_ci_accepts_a_test_that_was_slow_once(run_tests: Run, tmp_path: Path) -> None:
    source = f"""
def test_that_was_slow():
    import pathlib, time
    seen = pathlib.Path({str(tmp_path / "seen")!r})
    end = time.monotonic() + 2.1 * (not seen.exists())
    seen.touch()
    while time.monotonic() < end: pass
"""
    assert run_tests(source, CI="true").returncode == 0


def test_the_servers_start_in_a_folder_of_their_own_and_stop(tmp_path: Path) -> None:
    if not (POSTGRESQL.program("initdb") and REDIS.program("redis-server")):
        pytest.skip("PostgreSQL and Redis are not installed on this machine")
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("node_modules"))
    tmp_path.chmod(0o700)  # as a new folder of root's is: PostgreSQL runs as another user
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TEST_")}

    def services(word: str) -> str:
        command = [sys.executable, "-m", "tests.services", word]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    first = services("start")
    assert first.count(" answers at ") == 2
    assert services("start") == first, "what answers is left alone"
    services("stop")
    assert list((tmp_path / ".services").iterdir()) == []
