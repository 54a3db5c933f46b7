"""The rule that a test takes less than two seconds unless it is marked `long`, which CI enforces.

A machine that does other work makes any test slow. So a test counts as slow only if it also is when it runs
again, alone.
"""

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support.servers import ROOT

MOST_SECONDS = 2.0
AGAIN = "TESTS_RUN_AGAIN"  # set in the run that repeats slow tests


def faults(config: pytest.Config) -> list[str]:
    """Return a line for each test of a run that takes too long, and is not marked `long`."""
    slow = _slow(config.pluginmanager.get_plugin("terminalreporter"))
    if not slow or os.environ.get(AGAIN):
        return [f"not marked long, and takes {seconds:.1f} seconds: {name}" for name, seconds in slow.items()]
    tests = [str(config.rootpath / name) for name in slow]
    plugins = [f"-p{plugin}" for plugin in (*config.option.plugins, "no:randomly")]
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(config.inipath), *plugins, *tests]
    again = subprocess.run(
        [*command, "--rootdir", str(config.rootpath)],
        cwd=ROOT,
        env=os.environ | {AGAIN: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return again.stdout.splitlines() if again.returncode else []


def _slow(reporter: Any) -> dict[str, float]:
    """Return the seconds of the tests that took too long, by name."""
    return {
        report.nodeid: report.duration
        for report in reporter.stats.get("passed", ())
        if report.when == "call" and report.duration > MOST_SECONDS and "long" not in report.keywords
    }
