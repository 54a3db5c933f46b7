"""A package from outside joins by being installed: no file of Tessera knows of it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SECRET
from tests.support import databases
from tests.support.clients import PASSWORD, new_details
from tests.support.contract import Contract
from tests.support.servers import ROOT, Server, run, serving

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example package installed in it, as pip installs it."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "example"
    subprocess.run(["cp", "-r", str(ROOT / "tests" / "example_feature"), str(source)], check=True)
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return folder


@pytest.fixture(scope="module")
def variables(
    database_kind: str, installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The variables of a service that finds the package, on a database that `tessera` has migrated."""
    folder = tmp_path_factory.mktemp("data")
    with databases.fresh(database_kind, folder, migrated=False) as url:
        found = _variables(installed, folder) | {"TESSERA_DATABASE_URL": url}
        assert run(["migrate"], found).returncode == 0
        yield found


def _variables(installed: Path, folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(installed), "TESSERA_SECRET_KEY": SECRET, "TESSERA_DATA_DIR": str(folder)}


def _sign_up_and_in(server: Server) -> dict[str, str]:
    details = new_details()
    assert server.call("POST", "/v1/users", details).status == 201
    credentials = {"identifier": details["username"], "password": PASSWORD}
    token = server.call("POST", "/v1/sessions", credentials).json["access_token"]
    return {"Authorization": f"Bearer {token}"}


def test_it_adds_a_resource_a_table_a_listener_and_a_setting(
    variables: dict[str, str], tmp_path: Path
) -> None:
    with serving(variables | {"TESSERA_GREETING": "Hello there"}, tmp_path / "server.log") as server:
        bearer = _sign_up_and_in(server)
        answer = server.call("GET", "/v1/greeting", headers=bearer)
        document: dict[str, Any] = server.call("GET", "/openapi.json").json
        Contract(document).check("GET", "/v1/greeting", answer.status, answer.headers, answer.body)
        assert answer.json["words"] == "Hello there"
        assert server.call("GET", "/v1/greeting").status == 401
        assert "greetings" in server.call("GET", "/v1/config").json["features"]


def test_switched_off_it_leaves_no_route_no_path_and_no_setting(
    variables: dict[str, str], tmp_path: Path
) -> None:
    with serving(variables | {"TESSERA_FEATURES": "-greetings"}, tmp_path / "server.log") as server:
        bearer = _sign_up_and_in(server)
        assert server.call("GET", "/v1/greeting", headers=bearer).status == 404
        assert "/v1/greeting" not in server.call("GET", "/openapi.json").json["paths"]
        assert "greetings" not in server.call("GET", "/v1/config").json["features"]
    off = variables | {"TESSERA_FEATURES": "-greetings", "TESSERA_GREETING": "Hello"}
    shown = run(["config"], off)
    assert "What a new user is told." not in shown.stdout
    assert "TESSERA_GREETING is set, but no such setting is known" in shown.stderr


def test_it_speaks_the_language_of_its_reader(variables: dict[str, str], tmp_path: Path) -> None:
    with serving(variables, tmp_path / "server.log") as server:
        told = server.call("GET", "/problems/not_greeted", headers={"Accept-Language": "ko"})
    assert told.headers["Content-Language"] == "ko"
    assert told.json["title"] == "인사를 받지 못했습니다"


def test_the_command_names_it(installed: Path, tmp_path: Path) -> None:
    variables = _variables(installed, tmp_path)  # and no database: these commands ask none
    assert "A greeting for each new user." in run(["features"], variables).stdout
    assert "TESSERA_GREETING = Welcome" in run(["config"], variables).stdout


def test_its_tables_have_a_history_of_their_own(variables: dict[str, str]) -> None:
    assert run(["migrate", "--check"], variables).returncode == 0
    without = {name: value for name, value in variables.items() if name != "PYTHONPATH"}
    assert run(["migrate"], without).returncode == 0, "the package may be uninstalled again"
