"""Node.js and the packages of tests/node, which tests marked `needs("Node.js")` use."""

import shutil
import subprocess
from functools import cache

from tests.support.servers import ROOT

MODULES = ROOT / "tests" / "node" / "node_modules"
OLDEST_NODE = 20  # that the packages run on


def node(*packages: str) -> str:
    """Return the path of node. Raises AssertionError if it, or one of the packages, is missing."""
    found = shutil.which("node")
    assert found and is_installed(), f"Node.js {OLDEST_NODE} or newer is not installed, with npm"
    absent = [package for package in packages if not (MODULES / package).is_dir()]
    assert not absent, f"not installed: {', '.join(absent)}; run: make tests/node/node_modules"
    return found


@cache
def is_installed() -> bool:
    """Return whether there is a new enough Node.js, and packages of tests/node."""
    found = shutil.which("node")
    if found is None or not MODULES.is_dir():
        return False
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.lstrip("v").partition(".")[0]) >= OLDEST_NODE
