"""A live service that sends letters, and the clients of its own contract."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.workshop import FETCHED, GUIDE, WORKSHOPS, Workshop
from tests.support.clients import PASSWORD, new_details
from tests.support.commands import tessera
from tests.support.guides import blocks_of, run_blocks
from tests.support.servers import Server, serving


@dataclass(frozen=True)
class Service:
    """`tessera serve` as the README starts it, with some users, and its letters in a folder."""

    server: Server
    letters: Path
    admin: str
    usernames: tuple[str, ...]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def call(self, method: str, path: str, body: Any = None, bearer: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        answer = self.server.call(method, path, body, headers)
        assert answer.status < 300, answer.body
        return answer.json if answer.body else None


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder, letters = tmp_path_factory.mktemp("service"), tmp_path_factory.mktemp("letters")
    environ = {"TESSERA_DATA_DIR": str(folder / "var"), "TESSERA_MAIL_URL": f"file:{letters}"}
    assert tessera("migrate", environ=environ).code == 0
    admin = new_details()["username"]
    options = ("--admin", "--username", admin, "--email", f"{admin}@example.com", "--password-stdin")
    assert tessera("user", "create", *options, environ=environ, stdin=PASSWORD.encode()).code == 0
    with serving(environ, folder / "server.log") as server:
        made = [server.call("POST", "/v1/users", new_details()).json["username"] for _ in range(6)]
        yield Service(server, letters, admin, (admin, *made))


@pytest.fixture(scope="package", params=WORKSHOPS)
def workshop(
    request: pytest.FixtureRequest, service: Service, tmp_path_factory: pytest.TempPathFactory
) -> Workshop:
    """The client in each language, of the contract that the service gives; its types are checked."""
    made = WORKSHOPS[request.param](tmp_path_factory.mktemp("client"))
    fetched = tmp_path_factory.mktemp("fetched")
    run_blocks([blocks_of(GUIDE)[FETCHED]], fetched, service.server.port)
    made.generate((fetched / "openapi.yaml").read_text(encoding="utf-8"))
    checked = made.check()
    assert checked.returncode == 0, checked.stdout
    return made
