"""Every command of docs/bulk.md, run against a service in development."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.commands import tessera
from tests.support.guides import blocks_of, run_blocks
from tests.support.servers import ROOT, serving

pytestmark = pytest.mark.long

START, *STEPS = blocks_of(ROOT / "docs" / "bulk.md")
SIGNED_IN, SENT, SEEN, DRY, EXPORTED, SHELL = range(6)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each step has written."""
    folder = tmp_path_factory.mktemp("guide")
    environ = {"TESSERA_DATA_DIR": str(folder / "var")}
    assert tessera("migrate", environ=environ).code == 0
    steps = [step.replace(".venv/bin/tessera", f"{sys.executable} -m api") for step in STEPS]
    with serving(environ, folder / "server.log") as server:
        written = run_blocks(steps, folder, server.port, **environ, PYTHONPATH=str(ROOT))
    assert {path.name for path in Path(folder).iterdir()} == {"var", "server.log"}, "nothing is left behind"
    return written


def test_it_starts_the_service_as_the_readme_does() -> None:
    assert blocks_of(ROOT / "README.md")[0] == START


def test_its_curl_lines_bring_users_in(written: list[str]) -> None:
    job, errors = (json.loads(line) for line in written[SEEN].split("\n")[1:3])
    assert (job["status"], job["created"], job["refused"]) == ("finished", 2, 1)
    assert [(error["line"], error["code"]) for error in errors["items"]] == [(3, "invalid_username")]


def test_its_dry_run_is_one(written: list[str]) -> None:
    assert json.loads(written[DRY].split("\n")[1])["dry_run"] is True


def test_its_export_is_whole(written: list[str]) -> None:
    assert written[EXPORTED].split("\n")[1] == '{"end_of_export":3}'


def test_its_commands_do_the_same(written: list[str]) -> None:
    assert "0 created, 0 updated, 2 skipped, 1 refused" in written[SHELL]
    assert "ended with 3" in written[SHELL]
    assert "Wrote 3 users to users.csv." in written[SHELL]
