"""Node.js and the packages of tests/node; without them tests are skipped, but in CI they fail."""

import os
import shutil
import subprocess

import pytest

from tests.support.servers import ROOT

MODULES = ROOT / "tests" / "node" / "node_modules"
OLDEST_NODE = 20  # that the packages run on


def node(*packages: str) -> str:
    """Return the path of node; without it or one of the packages, skip the test, or fail in CI."""
    found = shutil.which("node")
    missing = _missing(found, packages)
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    assert found is not None
    return found


def _missing(found: str | None, packages: tuple[str, ...]) -> str | None:
    if found is None:
        return "no node on the PATH"
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        return f"node {version.strip()} is older than {OLDEST_NODE}"
    absent = [package for package in packages if not (MODULES / package).is_dir()]
    return f"not installed: {', '.join(absent)}; run: make tests/node/node_modules" if absent else None
