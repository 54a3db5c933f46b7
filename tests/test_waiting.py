"""No test waits by sleeping: it waits for what happens, with `wait_until`, or it is a slow peer itself."""

import re
from pathlib import Path

import pytest

from tests.support.servers import ROOT

TESTS = ROOT / "tests"
WAITING = TESTS / "support" / "waiting.py"
# Also within the text of a program that a test starts, in Python, JavaScript or the shell.
SLEEP = re.compile(r"\bsleep\(|\bimport\b.*\bsleep\b|\bsetTimeout\(|\bsleep \d")
SLOW_PEER = re.compile(r"(#|//) slow peer: \w+")  # and which peer takes its time, and why


def _sleeping_lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if SLEEP.search(line)]


def test_no_test_sleeps_except_as_a_slow_peer() -> None:
    files = [path for ending in ("py", "ts", "mjs") for path in TESTS.rglob(f"*.{ending}")]
    unexplained = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files
        if "node_modules" not in path.parts and path not in (WAITING, Path(__file__))
        for line in _sleeping_lines(path)
        if not SLOW_PEER.search(line)
    ]
    assert unexplained == []


def test_one_line_of_one_helper_waits() -> None:
    assert len(_sleeping_lines(WAITING)) == 1


@pytest.mark.parametrize(
    "line",
    ["time.sleep(1)", "await asyncio.sleep(1)", "from time import sleep", "setTimeout(go, 9)", "sleep 1"],
)
def test_the_check_knows_each_way_to_sleep(line: str) -> None:
    assert SLEEP.search(line)
    assert not SLEEP.search(line.replace("sleep", "asleep").replace("set", "get"))
