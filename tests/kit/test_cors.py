"""CORS: whose pages may read answers, and that asking for leave reaches no operation."""

from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from flask import Flask
from werkzeug.datastructures import Headers
from werkzeug.test import TestResponse

from tests.conftest import MakeApp
from tests.kit.conftest import MakeOffline
from tests.support import databases
from tests.support.clients import ContractClient, client_of, new_person
from tests.support.contract import METHODS, checked_in

pytestmark = databases.ON_SQLITE

PAGE = "https://app.example.com"
LOCAL = "http://localhost:3000"
STRANGERS = [
    "null",
    "*",
    "",
    "http://app.example.com",
    "https://APP.example.com",
    "HTTPS://app.example.com",
    "https://app.example.com:8443",
    "https://app.example.com:443",
    "https://app.example.com/",
    "https://app.example.com.",
    "https://app.example.com.evil.example",
    "https://app.example.comevil.example",
    "https://evil-app.example.com",
    "https://evil.app.example.com",
    "https://evil.example/https://app.example.com",
    "https://appxexample.com",
    "https://app.example.com@evil.example",
    "https://app.example.com,https://evil.example",
    f"{PAGE}, {PAGE}",
    f"{PAGE} {PAGE}",
    "app.example.com",
    "http://localhost",
    "http://localhost:30000",
]
PATHS = [
    "/v1/users",
    "/v1/users/me",
    "/v1/sessions",
    "/health/live",
    "/no/such/path",
    "//v1/users",
    "/./v1/users",
    "/v1//users",
    "/v1%2fusers",
    "/v1/users/",
    "/V1/users",
    "/v1/users;x",
    "/v1/users/%00",
    "/v1/users/../sessions",
]


@pytest.fixture
def frontend(make_offline: MakeOffline) -> ContractClient:
    """Whoever calls a service without a database, but with pages that may read it."""
    return client_of(make_offline(CORS_ORIGINS=f"{PAGE}, {LOCAL}"))


def preflight(client: ContractClient, path: str, origin: str = PAGE, method: str = "POST") -> TestResponse:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    return client.options(path, headers=asked | {"Access-Control-Request-Headers": "authorization"})


def grants(headers: Headers) -> list[str]:
    return sorted(name for name in headers.keys() if name.lower().startswith("access-control-"))  # noqa: SIM118


@pytest.mark.parametrize("origin", [PAGE, LOCAL])
def test_a_page_of_a_configured_origin_may_read(frontend: ContractClient, origin: str) -> None:
    answer = frontend.get("/v1/config", headers={"Origin": origin})
    assert answer.status_code == 200
    assert answer.headers.getlist("Access-Control-Allow-Origin") == [origin]


@pytest.mark.parametrize("origin", STRANGERS)
def test_any_other_origin_may_not_read(frontend: ContractClient, origin: str) -> None:
    answer = frontend.get("/v1/config", headers={"Origin": origin})
    assert answer.status_code == 200
    assert grants(answer.headers) == []


@pytest.mark.parametrize("origin", STRANGERS)
def test_any_other_origin_gets_no_leave(frontend: ContractClient, origin: str) -> None:
    answer = preflight(frontend, "/v1/users", origin)
    assert (answer.status_code, answer.data) == (204, b"")
    assert grants(answer.headers) == []


@pytest.mark.parametrize("path", PATHS)
def test_leave_is_the_same_for_every_path(frontend: ContractClient, path: str) -> None:
    answer = preflight(frontend, path)
    assert (answer.status_code, answer.data) == (204, b"")
    assert "Content-Type" not in answer.headers
    assert {name: answer.headers[name] for name in grants(answer.headers)} == {
        "Access-Control-Allow-Origin": PAGE,
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "Access-Control-Allow-Headers": "Accept-Language, Authorization, Content-Type, Idempotency-Key, "
        "If-Match, If-None-Match, X-Request-Id",
        "Access-Control-Expose-Headers": answer.headers["Access-Control-Expose-Headers"],
        "Access-Control-Max-Age": "7200",
    }


@pytest.mark.parametrize("origin", [PAGE, "https://evil.example"])
@pytest.mark.parametrize("path", PATHS)
def test_the_path_never_decides_who_reads(frontend: ContractClient, path: str, origin: str) -> None:
    answer = frontend.get(path, headers={"Origin": origin})
    allowed = [PAGE] if origin == PAGE else []
    assert answer.headers.getlist("Access-Control-Allow-Origin") == allowed


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("GET", "/v1/users/me", {}, 401),
        ("GET", "/nowhere", {}, 404),
        ("PUT", "/v1/config", {}, 405),
        ("GET", "/v1/config", {"headers": {"Accept": "text/html"}}, 406),
        ("POST", "/v1/users", {"data": b"x"}, 415),
        ("POST", "/v1/users", {"data": b" " * 70000, "content_type": "application/json"}, 413),
        ("POST", "/v1/users", {"data": b"{", "content_type": "application/json"}, 400),
        ("POST", "/v1/users", {"json": {}}, 422),
        ("POST", "/v1/password-resets/confirm", {"json": {"token": "x", "new_password": "y" * 9}}, 503),
    ],
)
def test_a_page_can_read_why_it_was_refused(
    frontend: ContractClient, method: str, path: str, sent: dict[str, Any], status: int
) -> None:
    headers = sent.pop("headers", {}) | {"Origin": PAGE}
    answer = frontend.open(path, method=method, headers=headers, **sent)
    assert answer.status_code == status
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "Origin" in answer.vary


def test_a_page_can_read_that_it_asked_too_often(make_offline: MakeOffline) -> None:
    client = client_of(make_offline(CORS_ORIGINS=PAGE, LIMITS="on", REQUEST_LIMIT="1 per hour"))
    answers = [client.get("/v1/config", headers={"Origin": PAGE}) for _ in range(2)]
    assert answers[-1].status_code == 429
    assert answers[-1].headers["Access-Control-Allow-Origin"] == PAGE


def test_a_page_can_read_a_failure(make_offline: MakeOffline) -> None:
    app = make_offline(CORS_ORIGINS=PAGE)
    app.view_functions["about.Root"] = _fail
    answer = app.test_client().get("/", headers={"Origin": PAGE})
    assert answer.status_code == 500
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE


def _fail(**_: Any) -> NoReturn:
    raise RuntimeError("must not be reached")


def test_a_preflight_is_not_counted(make_offline: MakeOffline) -> None:
    client = client_of(make_offline(CORS_ORIGINS=PAGE, LIMITS="on", REQUEST_LIMIT="1 per hour"))
    answers = [preflight(client, "/v1/config", method="GET") for _ in range(3)]
    assert [(answer.status_code, "RateLimit" in answer.headers) for answer in answers] == [(204, False)] * 3
    assert client.get("/v1/config").status_code == 200


def test_a_preflight_reaches_no_operation(make_offline: MakeOffline) -> None:
    app = make_offline(CORS_ORIGINS=PAGE)
    for name in app.view_functions:
        app.view_functions[name] = _fail
    for rule in app.url_map.iter_rules():
        assert preflight(client_of(app), rule.rule).status_code == 204, rule


def test_a_preflight_looks_at_no_credential(frontend: ContractClient) -> None:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "GET", "Authorization": "Bearer nonsense"}
    assert frontend.options("/v1/users/me", headers=asked).status_code == 204


def test_a_preflight_is_answered_as_every_request(frontend: ContractClient) -> None:
    answer = preflight(frontend, "/v1/users")
    assert answer.headers["X-Request-Id"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": PAGE}, {"Access-Control-Request-Method": "POST"}],
    ids=["bare", "of a page", "without an origin"],
)
def test_options_that_are_no_preflight_tell_the_methods(
    frontend: ContractClient, headers: dict[str, str]
) -> None:
    answer = frontend.options("/v1/sessions", headers=headers)
    assert answer.status_code == 204
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("origin", [PAGE, "https://evil.example", None])
def test_caches_keep_answers_apart_by_origin(frontend: ContractClient, origin: str | None) -> None:
    headers = {"Origin": origin} if origin else {}
    answer = frontend.get("/v1/config", headers=headers)
    assert "public" in answer.headers["Cache-Control"]
    assert "Origin" in answer.vary
    assert "Origin" in preflight(frontend, "/v1/config", origin or LOCAL).vary


def test_no_answer_lets_cookies_along_or_opens_a_network(frontend: ContractClient) -> None:
    private = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}
    asked = private | {"Access-Control-Request-Private-Network": "true"}
    for answer in (frontend.options("/v1/config", headers=asked), frontend.get("/v1/config", headers=asked)):
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Access-Control-Allow-Private-Network" not in answer.headers


def test_by_default_nobody_may_read(offline: ContractClient) -> None:
    for answer in (offline.get("/v1/config", headers={"Origin": PAGE}), preflight(offline, "/v1/config")):
        assert grants(answer.headers) == []
        assert "Origin" not in answer.vary


def _documented() -> Iterator[dict[str, Any]]:
    document = checked_in()
    for item in document["paths"].values():
        yield from (operation for method, operation in item.items() if method in METHODS)


def test_a_page_can_read_every_header_that_is_documented(frontend: ContractClient) -> None:
    exposed = frontend.get("/", headers={"Origin": PAGE}).headers["Access-Control-Expose-Headers"].split(", ")
    answers = (answer for operation in _documented() for answer in operation["responses"].values())
    documented = {name for answer in answers for name in answer.get("headers", {})}
    # A CORS-safelisted response-header name of the Fetch standard, and what only the browser itself reads.
    documented -= {"Content-Language", "Content-Security-Policy"}
    assert documented | {"WWW-Authenticate", "X-Request-Id", "Allow"} <= set(exposed)


def test_a_page_may_send_every_header_that_is_documented(frontend: ContractClient) -> None:
    allowed = preflight(frontend, "/").headers["Access-Control-Allow-Headers"].split(", ")
    parameters = (p for operation in _documented() for p in operation.get("parameters", ()))
    documented = {p["name"] for p in parameters if p["in"] == "header"}
    assert documented | {"Authorization", "Content-Type"} <= set(allowed)


def test_a_page_reads_what_a_signed_in_user_gets(make_app: MakeApp) -> None:
    app: Flask = make_app(CORS_ORIGINS=PAGE)
    person = new_person(app)
    answer = person.call("GET", "/v1/users/me", Origin=PAGE)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    unchanged = person.call("GET", "/v1/users/me", Origin=PAGE, If_None_Match=answer.headers["ETag"])
    assert unchanged.status_code == 304
    assert unchanged.headers["Access-Control-Allow-Origin"] == PAGE
