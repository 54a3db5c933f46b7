"""Failed sign-ins over two servers that share nothing but a database."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask

from tests.support.clients import PASSWORD, new_details
from tests.support.servers import Answer, Server, serving
from tests.support.watching import in_parallel

pytestmark = pytest.mark.long

COUNTING = Path(__file__).parent / "counting_feature"
OWNER, ATTACKER = "198.51.100.1", "192.0.2.1"


@dataclass
class Two:
    """Two servers on one database, behind a proxy that they trust, and how much they verified."""

    servers: list[Server]
    file: Path

    @property
    def verified(self) -> int:
        return len(self.file.read_bytes()) if self.file.exists() else 0

    def sign_in(self, number: int, address: str, username: str, password: str) -> Answer:
        credentials = {"identifier": username, "password": password}
        server = self.servers[number % 2]
        return server.call("POST", "/v1/sessions", credentials, {"X-Forwarded-For": address})


@pytest.fixture
def two(app: Flask, environ: dict[str, str], tmp_path: Path) -> Iterator[Two]:
    file = tmp_path / "verified"
    changed = {
        "TESSERA_LIMITS": "on",
        "TESSERA_PASSWORD_LIMIT": "1000 per minute",
        "TESSERA_TRUSTED_PROXIES": "127.0.0.1",
        "TESSERA_COUNTING_FILE": str(file),
        "PYTHONPATH": str(COUNTING),
    }
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(environ | changed, tmp_path / name)) for name in ("a", "b")]
        yield Two(servers, file)


def test_200_parallel_guesses_cost_10_hashes_while_the_owner_signs_in(two: Two) -> None:
    details = new_details()
    assert two.servers[0].call("POST", "/v1/users", details).status == 201
    name = details["username"]

    def one_of_201(number: int) -> int:
        if number == 100:
            return two.sign_in(number, OWNER, name, PASSWORD).status
        return two.sign_in(number, ATTACKER, name, f"guess {number}").status

    found = in_parallel(201, one_of_201)
    assert found.pop(100) == 201
    assert Counter(found) == {401: 10, 429: 190}
    assert two.verified == 10 + 1
    refused = two.sign_in(0, ATTACKER, name, PASSWORD)
    assert refused.status == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 900
    assert two.sign_in(1, OWNER, name, PASSWORD).status == 201
    assert two.verified == 10 + 2


def test_at_start_it_says_loudly_that_limits_are_off(server: Server) -> None:
    assert "TESSERA_LIMITS is off: PASSWORDS MAY BE GUESSED WITHOUT LIMIT." in server.log.read_text()
