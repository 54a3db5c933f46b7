"""CORS as a browser meets it: a server on a socket, asked before and asked for real."""

from collections.abc import Iterator

import pytest
from flask import Flask

from tests.support import databases
from tests.support.servers import Server, parse, serving

pytestmark = databases.ON_SQLITE

PAGE = "https://app.example.com"


@pytest.fixture(scope="module")
def frontend(
    shared_app: Flask, environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that pages of one origin may read; these tests write nothing."""
    log = tmp_path_factory.mktemp("frontend") / "server.log"
    with serving(environ | {"TESSERA_CORS_ORIGINS": PAGE, "TESSERA_WORKER": "apart"}, log) as server:
        yield server


@pytest.mark.parametrize(
    "target", ["/v1/users/me", "//v1/users", "/./v1/users", "/v1%2fusers", "/nowhere", "http://a/v1/users"]
)
@pytest.mark.parametrize("origin", [PAGE, "https://app.example.com.evil.example", "null"])
def test_a_raw_preflight(frontend: Server, target: str, origin: str) -> None:
    lines = f"Host: a\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: DELETE\r\n"
    lines += "Access-Control-Request-Headers: authorization,if-match\r\nConnection: close\r\n"
    answer = parse(frontend.raw(f"OPTIONS {target} HTTP/1.1\r\n{lines}\r\n".encode()))
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers.getlist("Access-Control-Allow-Origin") == ([PAGE] if origin == PAGE else [])
    assert ("Access-Control-Allow-Methods" in answer.headers) is (origin == PAGE)
    assert answer.headers["Vary"] == "Origin"


def test_two_origins_are_none(frontend: Server) -> None:
    lines = f"Host: a\r\nOrigin: {PAGE}\r\nOrigin: {PAGE}\r\nConnection: close\r\n"
    answer = parse(frontend.raw(f"GET /v1/config HTTP/1.1\r\n{lines}\r\n".encode()))
    assert answer.status == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/config", None, 200),
        ("GET", "/v1/users/me", None, 401),
        ("GET", "/nowhere", None, 404),
        ("POST", "/v1/sessions", {}, 422),
        ("POST", "/v1/sessions", b"x" * 70000, 415),
    ],
)
def test_a_page_reads_what_it_gets(
    frontend: Server, method: str, path: str, body: object, status: int
) -> None:
    answer = frontend.call(method, path, body, {"Origin": PAGE})
    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]
