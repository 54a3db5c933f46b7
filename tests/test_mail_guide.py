"""Every command of docs/mail.md, run against a service in development."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import tessera
from tests.support.guides import blocks_of, run_blocks
from tests.support.servers import ROOT, Server, serving

pytestmark = pytest.mark.long

START, *STEPS = blocks_of(ROOT / "docs" / "mail.md")
SIGNED_UP, CONFIRMED, FORGOTTEN, RESET, CHANGED, LAST, REVERTED, OPERATED, REMOVED = range(9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guide")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    environ = {"TESSERA_DATA_DIR": str(folder / "var")}
    assert tessera("migrate", environ=environ).code == 0
    with serving(environ, folder / "server.log") as running:
        yield running


@pytest.fixture(scope="module")
def written(folder: Path, server: Server) -> list[str]:
    """What each step has written."""
    command = f"{sys.executable} -m api"
    steps = [step.replace(".venv/bin/tessera", command) for step in STEPS]
    environ = {"TESSERA_DATA_DIR": str(folder / "var"), "PYTHONPATH": str(ROOT)}
    return run_blocks(steps, folder, server.port, **environ)


def test_it_starts_the_service_as_the_readme_does() -> None:
    assert blocks_of(ROOT / "README.md")[0] == START


def test_its_curl_lines_confirm_an_address(written: list[str]) -> None:
    assert '"email_verified":false' in written[SIGNED_UP]
    assert '"email":"mina@example.com","email_verified":true' in written[CONFIRMED]


def test_its_curl_lines_set_a_forgotten_password(written: list[str]) -> None:
    assert written[FORGOTTEN].split() == [str(FORGOTTEN)]
    assert written[RESET].split() == [str(RESET)]
    assert '"pending_email":"kim@example.com"' in written[CHANGED], "the new password signs in"


def test_its_curl_lines_change_an_address(written: list[str]) -> None:
    assert '"email":"kim@example.com","email_verified":true,"pending_email":null' in written[LAST]


def test_its_curl_lines_take_the_change_back(written: list[str]) -> None:
    assert written[REVERTED].split() == [str(REVERTED)]


def test_its_commands_show_that_nothing_is_owed(written: list[str]) -> None:
    assert written[OPERATED].split("\n", 1)[1] == "Nothing is owed.\n0 to be tried again.\n\n"


def test_it_leaves_nothing_behind(written: list[str], folder: Path) -> None:
    assert written[REMOVED].split() == [str(REMOVED)]
    assert not (folder / "tokens.json").exists()


def test_the_log_shows_the_letters_and_stays_readable(written: list[str], server: Server) -> None:
    lines = server.log.read_text().splitlines()
    assert "To: kim@example.com" in lines
    assert [json.loads(line)["status"] for line in lines if '"event":"request"' in line]
