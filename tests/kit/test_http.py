"""HTTP at its edges: bodies, negotiation, Host, request ids, headers, methods, paths, faults, the log."""

import io
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from structlog.testing import capture_logs
from werkzeug.exceptions import BadRequest, HTTPException, RequestTimeout
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from api.kit.db import db
from tests.conftest import SECRET, MakeApp
from tests.kit.conftest import MakeOffline
from tests.support import databases
from tests.support.clients import PASSWORD, ContractClient, Person, contract_of, new_details
from tests.support.servers import ROOT

pytestmark = databases.ON_SQLITE

LIMIT = 65536  # bytes
PROBLEM_JSON = "application/problem+json"
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


def refused(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Assert that the response is this refusal, whole and told of by its own id; return it."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == PROBLEM_JSON
    problem: dict[str, Any] = response.get_json(force=True)
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["type"] == f"/problems/{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["X-Request-Id"]
    return problem


# Bodies


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/jsonx",
        "application/problem+json",
        "application/merge-patch+json",
        "application/x-ndjson",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/json; charset=utf-7",
        'application/json; charset="iso-8859-1"',
        "application",
        "/json",
    ],
)
def test_a_body_of_another_media_type_is_refused(offline: ContractClient, content_type: str) -> None:
    response = offline.post("/v1/users", data=b"{}", headers={"Content-Type": content_type})
    refused(response, 415, "unsupported_media_type")


def test_a_body_without_a_media_type_is_refused(offline: ContractClient) -> None:
    refused(offline.post("/v1/users", data=b"{}"), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; charset=utf8",
    ],
)
def test_json_in_utf_8_is_read(offline: ContractClient, content_type: str) -> None:
    response = offline.post("/v1/users", data=b"{}", headers={"Content-Type": content_type})
    refused(response, 422, "validation_failed")


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "x-gzip", "GZIP", "gzip, identity"])
def test_a_coded_body_is_refused(offline: ContractClient, coding: str) -> None:
    response = offline.post("/v1/users", json={}, headers={"Content-Encoding": coding})
    refused(response, 415, "unsupported_media_type")


def test_a_body_of_the_identity_coding_is_read(offline: ContractClient) -> None:
    response = offline.post("/v1/users", json={}, headers={"Content-Encoding": "identity"})
    refused(response, 422, "validation_failed")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"username": "canary", "username": "canary"}',
        b'{"username": NaN}',
        b'{"username": 1e999}',
        b"[" * 2000,
        b"\xef\xbb\xbf{}",
        '{"username": "canary"}'.encode("utf-16"),
        b'{"username": "canary\xff"}',
        b"username=canary",
    ],
)
def test_a_body_that_is_no_json_is_refused(offline: ContractClient, body: bytes) -> None:
    response = offline.post("/v1/users", data=body, content_type="application/json")
    refused(response, 400, "malformed_json")
    assert "canary" not in response.text


@pytest.mark.parametrize("body", [b"[]", b'"canary"', b"1", b"null", b"true", b"[[{}]]"])
def test_a_document_that_is_no_object_is_refused(offline: ContractClient, body: bytes) -> None:
    response = offline.post("/v1/users", data=body, content_type="application/json")
    errors = refused(response, 422, "validation_failed")["errors"]
    assert [(error["pointer"], error["code"]) for error in errors] == [("", "invalid_type")]


def test_a_body_of_64_kib_is_read(offline: ContractClient) -> None:
    body = b"{}" + b" " * (LIMIT - 2)
    response = offline.post("/v1/users", data=body, content_type="application/json")
    refused(response, 422, "validation_failed")


def test_a_longer_body_is_refused(offline: ContractClient) -> None:
    body = b"{}" + b" " * (LIMIT - 1)
    response = offline.post("/v1/users", data=body, content_type="application/json")
    refused(response, 413, "body_too_large")


def test_a_longer_body_is_refused_before_it_is_read(offline: ContractClient) -> None:
    stream = _Failing(AssertionError("the body was read"))
    response = _send_stream(offline, stream, CONTENT_LENGTH=str(LIMIT + 1))
    refused(response, 413, "body_too_large")


def test_a_body_in_chunks_is_read(offline: ContractClient) -> None:
    body = b"{}" + b" " * (LIMIT - 2)
    response = _send_stream(offline, io.BytesIO(body), HTTP_TRANSFER_ENCODING="chunked")
    refused(response, 422, "validation_failed")


@pytest.mark.parametrize("length", [LIMIT + 1, LIMIT * 3, LIMIT * 20])
def test_a_longer_body_in_chunks_is_refused(offline: ContractClient, length: int) -> None:
    stream = io.BytesIO(b"{}" + b" " * (length - 2))
    response = _send_stream(offline, stream, HTTP_TRANSFER_ENCODING="chunked")
    refused(response, 413, "body_too_large")


def test_no_more_than_the_limit_is_read_of_a_body_in_chunks(offline: ContractClient) -> None:
    stream = io.BytesIO(b" " * LIMIT * 20)
    _send_stream(offline, stream, HTTP_TRANSFER_ENCODING="chunked")
    assert stream.tell() <= LIMIT + 1


def test_a_body_that_comes_in_small_pieces_is_read_whole(offline: ContractClient) -> None:
    stream = _Dripping(b'{"canary": 1}')
    errors = refused(
        _send_stream(offline, stream, HTTP_TRANSFER_ENCODING="chunked"), 422, "validation_failed"
    )["errors"]
    assert {"pointer": "/canary", "code": "unknown_member", "detail": "Is not known here."} in errors


def test_a_body_that_does_not_arrive_is_a_timeout(offline: ContractClient) -> None:
    response = _send_stream(offline, _Failing(RequestTimeout()), CONTENT_LENGTH="10")
    refused(response, 408, "request_timeout")


def test_a_body_that_breaks_off_is_malformed(offline: ContractClient) -> None:
    response = _send_stream(offline, _Failing(BadRequest()), HTTP_TRANSFER_ENCODING="chunked")
    refused(response, 400, "malformed_request")


@pytest.mark.parametrize("length", ["-1", "+3", "abc", "1_0", "0x10", " 3"])
def test_a_length_that_is_no_number_gives_no_fault(offline: ContractClient, length: str) -> None:
    response = _send_stream(offline, io.BytesIO(b"{}"), CONTENT_LENGTH=length)
    assert response.status_code in (400, 422), response.text


# Negotiation


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/xml",
        "application/problem+json",
        "image/*",
        "application/json;q=0",
        "*/*;q=0",
        "text/html, application/xml;q=0.9",
        "json",
    ],
)
def test_a_media_type_that_is_not_spoken_here_is_refused(offline: ContractClient, accept: str) -> None:
    refused(offline.get("/", headers={"Accept": accept}), 406, "not_acceptable")


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/*",
        "application/json",
        "APPLICATION/JSON",
        "application/json;q=0.1",
        "text/html, application/json;q=0.9",
        "text/html, */*;q=0.8",
        "application/json;charset=utf-8",
    ],
)
def test_a_header_that_leaves_room_for_json_is_served(offline: ContractClient, accept: str) -> None:
    response = offline.get("/", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"


def test_json_itself_can_be_refused_in_favour_of_any_other(offline: ContractClient) -> None:
    response = offline.get("/", headers={"Accept": "*/*, application/json;q=0"})
    refused(response, 406, "not_acceptable")


def test_yaml_is_served_to_who_accepts_yaml_only(offline: ContractClient) -> None:
    response = offline.get("/openapi.yaml", headers={"Accept": "application/yaml"})
    assert response.headers["Content-Type"].startswith("application/yaml")


# Host and framing


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a,b",
        "a, b",
        "id.example.com,id.example.com",
        "a b",
        "a/b",
        "a\\b",
        "a?b",
        "a#b",
        "user@a",
        "user:password@a",
        "a:",
        "a:b",
        "a:-1",
        "a:123456",
        "a:80:80",
        "[::1",
        "::1",
        "[evil]",
        "\xe4.example",
        "a\r\nX-Injected: b",
        "a\n",
        "a\x00",
        "<script>",
    ],
)
def test_a_host_that_is_none_is_refused(offline: ContractClient, host: str) -> None:
    refused(offline.get("/", environ_overrides={"HTTP_HOST": host}), 400, "malformed_request")


def test_a_request_without_a_host_is_refused(offline_app: Flask) -> None:
    environ = EnvironBuilder("/").get_environ()
    del environ["HTTP_HOST"]
    _, status, _ = run_wsgi_app(offline_app, environ)
    assert status == "400 BAD REQUEST"


@pytest.mark.parametrize(
    "host", ["id.example.com", "localhost", "127.0.0.1:8000", "[::1]", "[::1]:8000", "a.b-c.example:65535"]
)
def test_a_well_formed_host_is_served(offline: ContractClient, host: str) -> None:
    assert offline.get("/", environ_overrides={"HTTP_HOST": host}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/nothing", "/v1/users", "/health/live"])
def test_a_bad_host_is_refused_on_every_path(offline: ContractClient, path: str) -> None:
    refused(offline.post(path, environ_overrides={"HTTP_HOST": "a,b"}), 400, "malformed_request")


@pytest.mark.parametrize(
    "header", ["Host", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Forwarded-Prefix"]
)
def test_no_header_changes_a_link(offline: ContractClient, header: str) -> None:
    value = "host=evil.example" if header == "Forwarded" else "evil.example"
    response = offline.get("/", headers={header: value})
    assert response.get_json()["links"]["openapi"] == "https://id.example.com/openapi.json"
    assert "evil" not in response.text


def test_two_ways_of_framing_at_once_are_refused(offline: ContractClient) -> None:
    overrides = {"CONTENT_LENGTH": "2", "HTTP_TRANSFER_ENCODING": "chunked"}
    response = _send_stream(offline, io.BytesIO(b"{}"), **overrides)
    refused(response, 400, "malformed_request")


# Request ids


@pytest.mark.parametrize("offered", ["a", "0199d2a4-7b1e-7c63", "A_b.c-9", "x" * 128])
def test_a_well_formed_request_id_is_kept(offline: ContractClient, offered: str) -> None:
    response = offline.get("/", headers={"X-Request-Id": offered})
    assert response.headers.getlist("X-Request-Id") == [offered]


@pytest.mark.parametrize(
    "offered",
    [
        "",
        "x" * 129,
        "x" * 10000,
        "a b",
        "a,b",
        "a\r\nSet-Cookie: canary=1",
        "a\n",
        "a\x00",
        "\x1b[31ma",
        "\xe4",
        '"}',
        "<script>",
        "../a",
    ],
)
def test_any_other_request_id_is_replaced(offline: ContractClient, offered: str) -> None:
    response = offline.get("/nothing", environ_overrides={"HTTP_X_REQUEST_ID": offered})
    problem = refused(response, 404, "not_found")
    assert str(UUID(problem["request_id"])) == problem["request_id"]


def test_each_request_has_an_id_of_its_own(offline: ContractClient) -> None:
    ids = {offline.get("/").headers["X-Request-Id"] for _ in range(5)}
    assert len(ids) == 5


# Headers


def _answers(client: ContractClient, person: Person) -> Iterator[tuple[str, TestResponse]]:
    """Yield an answer of every kind that there is."""
    yield "200", client.get("/")
    yield "200 yaml", client.get("/openapi.yaml")
    yield "201", client.post("/v1/users", json=new_details())
    yield "304", person.call("GET", "/v1/users/me", If_None_Match="*")
    yield "400", client.get("/", environ_overrides={"HTTP_HOST": ""})
    yield "401", client.get("/v1/users/me")
    yield "403", person.call("GET", "/v1/users")
    yield "404", client.get("/nothing")
    yield "405", client.delete("/v1/users")
    yield "406", client.get("/", headers={"Accept": "text/html"})
    yield "408", _send_stream(client, _Failing(RequestTimeout()), CONTENT_LENGTH="10")
    yield "409", client.post("/v1/users", json=new_details(username=person.user["username"]))
    yield "412", person.call("PATCH", "/v1/users/me", {}, If_Match='"stale"')
    yield "413", client.post("/v1/users", data=b" " * (LIMIT + 1), content_type="application/json")
    yield "415", client.post("/v1/users", data=b"{}")
    yield "422", client.post("/v1/users", json={})
    yield "options", client.options("/v1/users")
    yield "head", client.head("/v1/config")
    yield "204", person.call("DELETE", "/v1/sessions/current")


def test_every_answer_has_the_security_headers_once(client: ContractClient, mina: Person) -> None:
    for kind, response in _answers(client, mina):
        for name, value in SECURITY_HEADERS.items():
            assert response.headers.getlist(name) == [value], kind


def test_every_answer_has_one_request_id(client: ContractClient, mina: Person) -> None:
    for kind, response in _answers(client, mina):
        assert len(response.headers.getlist("X-Request-Id")) == 1, kind


def test_no_answer_sets_a_cookie_or_names_its_software(client: ContractClient, mina: Person) -> None:
    for kind, response in _answers(client, mina):
        assert not {"Set-Cookie", "Server", "X-Powered-By"} & set(response.headers.keys()), kind


def test_no_answer_opens_the_service_to_other_origins(client: ContractClient, mina: Person) -> None:
    for kind, response in _answers(client, mina):
        assert not [name for name in dict(response.headers) if name.startswith("Access-Control")], kind


def test_every_refusal_is_a_problem_that_no_cache_keeps(client: ContractClient, mina: Person) -> None:
    for kind, response in _answers(client, mina):
        if response.status_code >= 400:
            assert response.headers["Content-Type"] == PROBLEM_JSON, kind
            assert response.headers["Cache-Control"] == "no-store", kind


def test_what_carries_a_token_is_kept_by_no_cache(mina: Person) -> None:
    credentials = {"identifier": mina.user["username"], "password": PASSWORD}
    answers = [mina.client.post("/v1/sessions", json=credentials), mina.refresh()]
    assert [answer.headers["Cache-Control"] for answer in answers] == ["no-store"] * 2


@pytest.mark.parametrize("path", ["/v1/users/me", "/v1/users/me/sessions"])
def test_what_a_user_sees_of_themselves_is_kept_by_no_cache(mina: Person, path: str) -> None:
    assert mina.call("GET", path).headers["Cache-Control"] == "no-store"


# Methods and paths


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/users", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("PUT", "/v1/users/me", {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH"}),
        ("GET", "/v1/sessions", {"OPTIONS", "POST"}),
        ("HEAD", "/v1/sessions", {"OPTIONS", "POST"}),
        ("POST", "/v1/config", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE", "/v1/config", {"GET", "HEAD", "OPTIONS"}),
        ("CONNECT", "/v1/config", {"GET", "HEAD", "OPTIONS"}),
        ("BREW", "/v1/config", {"GET", "HEAD", "OPTIONS"}),
        ("PROPFIND", "/v1/sessions/current", {"DELETE", "OPTIONS"}),
    ],
)
def test_another_method_is_refused_with_those_of_the_path(
    offline: ContractClient, method: str, path: str, allow: set[str]
) -> None:
    response = offline.open(path, environ_overrides={"REQUEST_METHOD": method})
    assert response.status_code == 405, response.text
    assert set(response.headers["Allow"].split(", ")) == allow
    assert response.headers["Content-Type"] == PROBLEM_JSON


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/nothing", "/v1/users/me/nothing", "/static/x"])
@pytest.mark.parametrize("method", ["GET", "POST", "TRACE", "BREW"])
def test_a_path_that_leads_nowhere_is_not_found(offline: ContractClient, method: str, path: str) -> None:
    refused(offline.open(path, method=method), 404, "not_found")


# As a server hands them on: percent-decoded, in Latin-1.
SPELLINGS = [
    "//v1/users/me",
    "/v1//users/me",
    "/v1/users//me",
    "/v1/users/me/",
    "/v1/users/me//",
    "/v1/users/me/.",
    "/v1/./users/me",
    "/v1/x/../users/me",
    "/V1/users/me",
    "/v1/Users/me",
    "/v1/users/ME",
    "/v1/users/me;x",
    "/v1/users;x/me",
    "/v1/users/me\x00",
    "/v1/users/me\x00.json",
    "/v1/users/me\r\n",
    "/v1/users/me%2f",
    "/v1/users%2Fme",
    "/v1/users\\me",
    "/v1/users/me ",
    "/v1/users/ me",
    "/v1/users/me.json",
    "/v1/users/\xff",
    "/v1/users/\xed\xa0\x80",
    "/v1/users/" + "a" * 5000,
]


@pytest.mark.parametrize("path", SPELLINGS)
def test_no_spelling_of_a_path_goes_around_the_sign_in(offline: ContractClient, path: str) -> None:
    response = offline.get("/", environ_overrides={"PATH_INFO": path})
    assert response.status_code in (401, 404), response.text


def test_no_spelling_of_a_path_is_another_path(mina: Person) -> None:
    for path in SPELLINGS:
        overrides = {"PATH_INFO": path}
        response = mina.client.get("/", headers=mina.bearer, environ_overrides=overrides)
        assert response.status_code in (404, 422), f"{path!r}: {response.text}"


def test_an_encoded_slash_is_the_slash_that_it_stands_for(mina: Person) -> None:
    assert mina.client.get("/v1/users%2fme").status_code == 401
    assert mina.call("GET", "/v1/users%2fme").status_code == 200


@pytest.mark.parametrize("path", ["/v1/users/", "/v1/config/", "/health/live/", "/openapi.json/"])
def test_nothing_is_redirected(offline: ContractClient, path: str) -> None:
    refused(offline.get(path), 404, "not_found")


def test_options_answers_for_every_path_by_its_methods(offline: ContractClient) -> None:
    for path, item in contract_of(offline.application).document["paths"].items():
        response = offline.options(path.replace("{code}", "not_found").replace("{user_id}", "me"))
        methods = {method.upper() for method in item} | {"OPTIONS"}
        expected = methods | ({"HEAD"} if "GET" in methods else set())
        assert response.status_code == 204, path
        assert set(response.headers["Allow"].split(", ")) == expected, path


def test_options_has_neither_body_nor_type_nor_length(offline: ContractClient) -> None:
    response = offline.options("/v1/users")
    assert response.data == b""
    assert not {"Content-Type", "Content-Length"} & set(response.headers.keys())


def test_options_runs_no_operation(mina: Person) -> None:
    for path in ("/v1/sessions/current", "/v1/users/me/sessions", "/v1/users/me"):
        assert mina.call("OPTIONS", path).status_code == 204
    assert mina.call("GET", "/v1/users/me").status_code == 200


def test_options_asks_no_database_and_no_token(offline: ContractClient) -> None:
    response = offline.options("/v1/users", headers={"Authorization": "Bearer nonsense"})
    assert response.status_code == 204


@pytest.mark.parametrize(
    "path", ["/", "/v1/config", "/openapi.json", "/openapi.yaml", "/nothing", "/v1/users"]
)
def test_head_is_get_without_the_body(offline: ContractClient, path: str) -> None:
    get, head = (
        offline.open(path, method=method, headers={"X-Request-Id": "same"}) for method in ("GET", "HEAD")
    )
    assert head.data == b""
    assert (head.status_code, sorted(head.headers)) == (get.status_code, sorted(get.headers))


def test_head_has_the_entity_tag_and_the_length_of_get(mina: Person) -> None:
    get, head = mina.call("GET", "/v1/users/me"), mina.call("HEAD", "/v1/users/me")
    assert (head.status_code, head.data) == (200, b"")
    for name in ("ETag", "Content-Length", "Content-Type", "Cache-Control"):
        assert head.headers[name] == get.headers[name], name


def test_head_needs_what_get_needs(offline: ContractClient) -> None:
    response = offline.head("/v1/users/me")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_the_method_is_overridden_by_no_header(mina: Person, header: str) -> None:
    extra = {header.replace("-", "_"): "DELETE"}
    assert mina.call("POST", "/v1/users/me", {}, **extra).status_code == 405
    assert mina.call("GET", "/v1/users/me", **extra).get_json()["status"] == "active"


def test_the_method_is_overridden_by_no_parameter(mina: Person) -> None:
    assert mina.call("GET", "/v1/users/me?_method=DELETE").status_code == 422
    assert mina.call("GET", "/v1/users/me").get_json()["status"] == "active"


def test_a_form_is_no_way_to_override_the_method(mina: Person) -> None:
    response = mina.client.post("/v1/users/me", data={"_method": "DELETE"}, headers=mina.bearer)
    assert response.status_code == 405


# Faults


@pytest.fixture
def faulty(make_offline: MakeOffline) -> Iterator[FlaskClient]:
    """A client of a service with one route that fails."""
    app = make_offline()

    def fail() -> str:
        raise RuntimeError(SECRET)

    app.add_url_rule("/fault", "fault", fail, methods=["GET", "POST"])
    with capture_logs():
        yield app.test_client()


def test_a_fault_is_a_problem_without_its_cause(faulty: FlaskClient) -> None:
    response = faulty.post("/fault", json={"password": PASSWORD}, headers={"X-Request-Id": "told-by-me"})
    problem = refused(response, 500, "internal_error")
    assert problem["request_id"] == "told-by-me"
    for hint in (SECRET, PASSWORD, "Traceback", "RuntimeError", "File ", ".py"):
        assert hint not in response.text


def test_a_fault_has_the_headers_of_every_answer(faulty: FlaskClient) -> None:
    response = faulty.get("/fault")
    for name, value in SECURITY_HEADERS.items():
        assert response.headers.getlist(name) == [value]
    assert response.headers["Cache-Control"] == "no-store"


def test_the_service_survives_a_fault(faulty: FlaskClient) -> None:
    assert faulty.get("/fault").status_code == 500
    assert faulty.get("/health/live").status_code == 200


def test_a_fault_in_a_transaction_undoes_it_and_is_told_as_any_other(make_app: MakeApp) -> None:
    app, details = make_app(), new_details()
    client = app.test_client()

    def fail(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("INSERT"):
            raise RuntimeError(details["password"])

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "after_cursor_execute", fail)
    with capture_logs():
        response = client.post("/v1/users", json=details)
    sa.event.remove(engine, "after_cursor_execute", fail)
    refused(response, 500, "internal_error")
    assert details["password"] not in response.text
    assert client.post("/v1/users", json=details).status_code == 201


@pytest.mark.parametrize("status", [400, 404, 405, 408, 413, 415, 418, 429, 431, 500, 501, 502, 503, 504])
def test_a_refusal_of_the_framework_keeps_its_class(make_offline: MakeOffline, status: int) -> None:
    app = make_offline()

    def fail() -> str:
        error = HTTPException(SECRET)
        error.code = status
        raise error

    app.add_url_rule("/fault", "fault", fail)
    response = app.test_client().get("/fault")
    assert response.status_code // 100 == status // 100
    assert response.get_json(force=True)["status"] == response.status_code
    assert SECRET not in response.text


def test_the_log_line_of_a_fault_and_its_answer_have_the_same_id(faulty: FlaskClient) -> None:
    with capture_logs() as entries:
        response = faulty.get("/fault")
    ids = {entry["request_id"] for entry in entries if entry["event"] == "internal_error"}
    assert ids == {response.headers["X-Request-Id"]}


# The log

RUN = """
    import sys
    import sqlalchemy as sa
    from api.app import create_app
    from api.kit.db import db
    from api.kit.logs import configure_logs

    configure_logs()
    app = create_app()
    client = app.test_client()
    details = {"username": "canary-name", "email": "canary-mail@example.com", "password": "canary-password"}
    hostile = {"HTTP_USER_AGENT": 'a\\r\\n{"canary": 1}\\x1b[31m', "HTTP_X_REQUEST_ID": 'b\\n{"canary": 2}'}

    def fail():
        password = details["password"]
        raise RuntimeError("failed")

    app.add_url_rule("/fault", "fault", fail)
    assert client.post("/v1/users", json=details, environ_overrides=hostile).status_code == 201
    signed_in = client.post("/v1/sessions", json={"identifier": "canary-name", "password": "canary-password"})
    tokens = signed_in.get_json()
    bearer = {"Authorization": "Bearer " + tokens["access_token"]}
    assert client.get("/v1/users/me", headers=bearer).status_code == 200
    refused = {"identifier": "canary-name", "password": "canary-wrong"}
    assert client.post("/v1/sessions", json=refused).status_code == 401
    client.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert client.post("/v1/users", data=b'{"canary": ').status_code == 415
    client.get("/v1/users?cursor=canary-cursor", headers=bearer)
    client.get("/x", environ_overrides={"PATH_INFO": '/\\r\\n{"canary": 3}', "QUERY_STRING": "canary=4"})
    assert client.get("/fault", headers={"X-Request-Id": "of-the-fault"}).status_code == 500
    broken = {
        "sqlite": "CREATE TRIGGER broken BEFORE INSERT ON users BEGIN SELECT RAISE(ABORT, 'broken'); END",
        "postgresql": "ALTER TABLE users ADD CONSTRAINT broken CHECK (username_key <> 'canary-two')",
    }
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(sa.text(broken[db.engine.dialect.name]))
    more = details | {"username": "canary-two", "email": "canary-two@example.com"}
    assert client.post("/v1/users", json=more, headers={"X-Request-Id": "of-the-row"}).status_code == 500
    print(tokens["access_token"], tokens["refresh_token"])
"""


@pytest.fixture(scope="module")
def logged(database_kind: str, tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A process that served some requests with secrets and some hostile ones; its log is its stderr."""
    folder = tmp_path_factory.mktemp("log")
    with databases.fresh(database_kind, folder) as url:
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(RUN)],
            cwd=ROOT,
            env={"TESSERA_DATABASE_URL": url, "TESSERA_DATA_DIR": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        )


def _lines(logged: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged.stderr.splitlines()]


@databases.ON_EACH
def test_every_line_of_the_log_is_one_json_object(logged: subprocess.CompletedProcess[str]) -> None:
    assert all(isinstance(line, dict) for line in _lines(logged))


@databases.ON_EACH
def test_every_request_has_one_line(logged: subprocess.CompletedProcess[str]) -> None:
    requests = [line for line in _lines(logged) if line["event"] == "request"]
    assert [line["status"] for line in requests] == [201, 201, 200, 401, 200, 415, 403, 404, 500, 500]
    assert [line["operation"] for line in requests[:2]] == ["createUser", "createSession"]


@databases.ON_EACH
def test_the_log_names_the_request_that_failed(logged: subprocess.CompletedProcess[str]) -> None:
    events = {line["event"] for line in _lines(logged) if line.get("request_id") == "of-the-fault"}
    assert events == {"internal_error", "request"}


@databases.ON_EACH
def test_the_log_has_no_body_and_no_secret(logged: subprocess.CompletedProcess[str]) -> None:
    for secret in ("canary-password", "canary-wrong", *logged.stdout.split()):
        assert secret not in logged.stderr


@databases.ON_EACH
def test_the_log_has_nothing_that_was_sent(logged: subprocess.CompletedProcess[str]) -> None:
    assert [line for line in logged.stderr.splitlines() if "canary" in line] == []


@databases.ON_EACH
def test_a_fault_of_the_database_puts_no_row_into_the_log(logged: subprocess.CompletedProcess[str]) -> None:
    assert "of-the-row" in logged.stderr
    assert "argon2id" not in logged.stderr


@databases.ON_EACH
def test_the_log_is_only_written_to_standard_error(logged: subprocess.CompletedProcess[str]) -> None:
    assert len(logged.stdout.splitlines()) == 1


# Helpers


class _Failing(io.RawIOBase):
    """A body whose reading fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        raise self.error

    def readinto(self, buffer: Any) -> int:
        raise self.error


class _Dripping(io.BytesIO):
    """A body that comes one byte at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(1 if size else 0)


def _send_stream(client: ContractClient, stream: Any, **overrides: str) -> TestResponse:
    """Send a stream as JSON to the sign-up: framed as the overrides of the WSGI environment say."""
    environ = {"wsgi.input": stream, "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": "", **overrides}
    if "HTTP_TRANSFER_ENCODING" in overrides:
        environ["wsgi.input_terminated"] = True
    return client.post("/v1/users", environ_overrides=environ)
