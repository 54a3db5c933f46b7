"""Node.js and the packages of tests/node, which tests marked `needs("Node.js")` use."""

import os
import shutil
import subprocess
from functools import cache

import pytest

from tests.support.servers import ROOT

MODULES = ROOT / "tests" / "node" / "node_modules"
OLDEST_NODE = 20  # that the packages run on


def node(*packages: str) -> str:
    """Return the path of node; without it or one of the packages, skip the test, or fail in CI."""
    found = shutil.which("node")
    absent = [package for package in packages if not (MODULES / package).is_dir()]
    if not found or not is_installed() or absent:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(f"missing: Node.js {OLDEST_NODE} or newer, or what `make tests/node/node_modules` installs")
    return found


@cache
def is_installed() -> bool:
    """Return whether there is a new enough Node.js, and packages of tests/node."""
    found = shutil.which("node")
    if found is None or not MODULES.is_dir():
        return False
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.lstrip("v").partition(".")[0]) >= OLDEST_NODE
