"""The linters of OpenAPI documents find nothing in openapi.yaml, not even what only deserves a warning."""

import json
import os
import subprocess

import pytest

from tests.clients.workshop import HERE
from tests.support.node import MODULES, node
from tests.support.servers import ROOT

pytestmark = pytest.mark.long

OPENAPI = str(ROOT / "openapi.yaml")
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}  # ask nobody over the network


def lint(package: str, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [node(package), str(MODULES / ".bin" / command), "lint", *arguments],
        env={"PATH": os.environ["PATH"], **QUIET},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_spectral_finds_nothing() -> None:
    ruleset = str(HERE / "spectral.yaml")
    linted = lint(
        "@stoplight/spectral-cli", "spectral", "--ruleset", ruleset, "--fail-severity", "hint", OPENAPI
    )
    assert linted.returncode == 0, linted.stdout


def test_redocly_finds_nothing() -> None:
    linted = lint(
        "@redocly/cli", "redocly", "--config", str(HERE / "redocly.yaml"), "--format", "json", OPENAPI
    )
    assert json.loads(linted.stdout)["problems"] == []
