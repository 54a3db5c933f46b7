"""Every command of docs/administration.md, run against a service in development."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import tessera
from tests.support.guides import blocks_of, run_blocks
from tests.support.servers import ROOT, Server, serving

pytestmark = pytest.mark.long

START, *STEPS = blocks_of(ROOT / "docs" / "administration.md")
SIGNED_IN, _, BUILT_IN, MADE, REMOVED, SUSPENDED, EXPORTED, DELETED, SHELL, LAST, TIDY = range(11)


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


def test_it_makes_an_administrator(written: list[str]) -> None:
    assert "Created the administrator root-of-it" in written[SIGNED_IN]
    assert '"name":"admin"' in written[BUILT_IN]
    assert '"roles:write"' in written[BUILT_IN]


def test_it_makes_a_role_and_changes_it(written: list[str]) -> None:
    assert '"permissions":["users:read"],"built_in":false' in written[MADE]
    assert '"permissions":["sessions:read","sessions:write","users:read"]' in written[MADE]


def test_a_role_that_somebody_has_is_deleted_once_it_is_taken(written: list[str]) -> None:
    assert written[REMOVED].count('"code":') == written[REMOVED].count('"code":"role_in_use"') == 1


def test_it_suspends_and_lifts(written: list[str]) -> None:
    assert written[SUSPENDED].count('"reason":"Sends spam."') == 2
    assert "code" not in written[SUSPENDED]


def test_it_shows_what_is_held(written: list[str]) -> None:
    assert '"username":"mina"' in written[EXPORTED]
    assert '"outbox":' in written[EXPORTED]


def test_it_deletes_and_restores(written: list[str]) -> None:
    assert '"status":"active"' in written[DELETED]
    assert "code" not in written[DELETED]


def test_its_commands_do_the_same(written: list[str]) -> None:
    lines = written[SHELL].splitlines()[1:]
    assert lines[:3] == [
        "mina has admin.",
        "mina has no role.",
        "Suspended mina, until 2099-01-31 12:00:00 UTC.",
    ]
    assert "mina can sign in again." in lines


def test_the_last_administrator_stays_one(written: list[str]) -> None:
    assert written[LAST].split() == [str(LAST)]


def test_it_leaves_nothing_behind(written: list[str], folder: Path) -> None:
    assert written[TIDY].split() == [str(TIDY)]
    assert not (folder / "tokens.json").exists()
