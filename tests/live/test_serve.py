"""`tessera serve` itself, with two processes: what only a running server can show."""

import json
import os
import random
import signal
import socket
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api.kit import work
from api.kit.db import db
from api.users import listing
from tests.support.clients import PASSWORD, new_details
from tests.support.databases import ON_SQLITE
from tests.support.gates import gate
from tests.support.servers import Answer, Server, chunked, has_ended, in_shell, parse, run, serving
from tests.support.waiting import DEADLINE, wait_until

GATED = Path(__file__).parent / "gated_feature"
JSON = {"Content-Type": "application/json"}
LIMIT = 65536


def _problem(answer: Answer) -> str:
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-Id"] == answer.json["request_id"]
    assert answer.json["status"] == answer.status
    return str(answer.json["code"])


def _post_raw(server: Server, *headers: bytes, body: bytes = b"") -> Answer:
    head = b"\r\n".join([b"POST /v1/users HTTP/1.1", b"Content-Type: application/json", *headers])
    return parse(server.raw(head + b"\r\nConnection: close\r\n\r\n" + body))


def _body_of(size: int) -> bytes:
    details = json.dumps(new_details(metadata={"filler": ""}))
    return details.replace('"filler": ""', f'"filler": "{"x" * (size - len(details))}"').encode()


def test_32_parallel_sign_ups_of_one_address_make_one_user(server: Server) -> None:
    start = threading.Barrier(32)

    def sign_up(number: int) -> Answer:
        details = new_details(email="the-one@example.com", username=f"user-{number}")
        start.wait()
        return _sign_up(server, details)

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(sign_up, range(32)))
    assert Counter(answer.status for answer in answers) == {201: 1, 409: 31}
    assert {_problem(answer) for answer in answers if answer.status == 409} == {"email_taken"}


def _sign_up(server: Server, details: dict[str, Any]) -> Answer:
    """Sign up, again and again while a slow machine has no place to hash for all at once."""
    answers: list[Answer] = []

    def is_decided() -> bool:
        answers.append(server.call("POST", "/v1/users", details))
        return answers[-1].status != 503

    wait_until(is_decided, "there is a place to hash")
    return answers[-1]


@ON_SQLITE
@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_a_body_over_the_limit_is_413_and_never_cut(server: Server, framing: str) -> None:
    body = _body_of(LIMIT + 1)
    header = (
        b"Content-Length: %d" % len(body) if framing == "content-length" else b"Transfer-Encoding: chunked"
    )
    sent = body if framing == "content-length" else chunked(body)
    answer = _post_raw(server, b"Host: a", header, body=sent)
    assert answer.status == 413
    assert _problem(answer) == "body_too_large"


@ON_SQLITE
@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_a_body_of_just_the_limit_is_read_whole(server: Server, framing: str) -> None:
    body = _body_of(LIMIT)
    header = (
        b"Content-Length: %d" % len(body) if framing == "content-length" else b"Transfer-Encoding: chunked"
    )
    sent = body if framing == "content-length" else chunked(body)
    answer = _post_raw(server, b"Host: a", header, body=sent)
    assert answer.status == 422
    assert [error["pointer"] for error in answer.json["errors"]] == ["/metadata"]  # over 16 KiB


@ON_SQLITE
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [b"Host:"],
        [b"Host: a", b"Host: a"],
        [b"Host: a", b"Host: b"],
        [b"Host: a b"],
        [b"Host: a/b"],
        [b"Host: user@a"],
        [b"Host: a:port"],
    ],
    ids=lambda headers: b", ".join(headers).decode() or "none",
)
def test_a_missing_doubled_or_malformed_host_is_400(server: Server, headers: list[bytes]) -> None:
    answer = _post_raw(server, *headers, b"Content-Length: 0")
    assert answer.status == 400
    assert _problem(answer) == "malformed_request"


@ON_SQLITE
def test_the_host_header_has_no_part_in_links(server: Server) -> None:
    answer = server.call("POST", "/v1/users", new_details(), {"Host": "evil.example"})
    assert answer.headers["Location"].startswith("https://id.example.com/v1/users/")


@ON_SQLITE
@pytest.mark.parametrize(
    "framing",
    [
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: xchunked"],
        [b"Transfer-Encoding : chunked"],
        [b"Content-Length: 1", b"Content-Length: 2"],
        [b"Content-Length: +2"],
        [b"Content-Length: 2, 2"],
        [b"X-Folded: a\r\n b"],
        [b"X-Nul: a\x00b"],
    ],
)
def test_bad_framing_is_refused_and_the_connection_closed(server: Server, framing: list[bytes]) -> None:
    head = b"\r\n".join([b"POST /v1/users HTTP/1.1", b"Host: a", *JSON_LINES, *framing])
    received = server.raw(head + b"\r\n\r\n0\r\n\r\nGET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1 ") == 1


JSON_LINES = [b"Content-Type: application/json"]


@ON_SQLITE
def test_a_request_behind_ambiguous_framing_is_not_answered(server: Server) -> None:
    smuggled = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    head = b"POST /v1/users HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    received = server.raw(head + b"0\r\n\r\n" + smuggled)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1 ") == 1


@ON_SQLITE
@pytest.mark.parametrize("path", [b"*", b"//", b"/%00", b"/%ff", b"/v1/users/%2e%2e", b"/v1/users/me;x"])
@pytest.mark.parametrize("method", [b"GET", b"OPTIONS", b"TRACE", b"FOO", b"get"])
def test_odd_targets_and_methods_are_refused_as_problems(server: Server, method: bytes, path: bytes) -> None:
    answer = parse(server.raw(method + b" " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    assert 400 <= answer.status < 500 or (method, answer.status) == (b"OPTIONS", 204)
    if answer.body:  # the server itself refuses what is no request line, without a body
        assert answer.headers["Content-Type"] == "application/problem+json"


@ON_SQLITE
def test_a_forwarding_header_does_not_change_the_address(server: Server) -> None:
    details = new_details()
    server.call("POST", "/v1/users", details)
    credentials = {"identifier": details["username"], "password": PASSWORD}
    forged = dict.fromkeys(("X-Forwarded-For", "X_Forwarded_For", "Forwarded", "X-Real-IP"), "192.0.2.9")
    assert server.call("POST", "/v1/sessions", credentials, forged).json["session"]["ip"] == "127.0.0.1"


@ON_SQLITE
def test_a_query_in_raw_utf_8_is_refused_as_a_problem(server: Server) -> None:
    head = "GET /v1/config?한=글 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = parse(server.raw(head.encode()))
    assert answer.status == 422
    assert answer.json["errors"][0]["parameter"] == "한"


@ON_SQLITE
def test_a_second_server_on_the_port_is_refused(server: Server, environ: dict[str, str]) -> None:
    done = run(["serve"], environ | {"TESSERA_PORT": str(server.port)})
    assert done.returncode == 1
    assert done.stderr == f"Error: Cannot listen on 127.0.0.1, port {server.port}: Address already in use\n"


@ON_SQLITE
def test_a_host_may_be_named(app: Flask, environ: dict[str, str], tmp_path: Path) -> None:
    with serving(environ | {"TESSERA_HOST": "localhost"}, tmp_path / "server.log") as server:
        assert server.call("GET", "/health/live").status == 200


@ON_SQLITE
def test_requests_are_answered_when_nobody_reads_the_log(
    app: Flask, environ: dict[str, str], tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    with serving(environ, tmp_path / "server.log", stderr=writing) as server:
        os.close(writing)
        os.close(reading)
        assert [server.call("POST", "/v1/users", new_details()).status for _ in range(3)] == [201] * 3


@ON_SQLITE
def test_it_serves_without_a_standard_error(app: Flask, environ: dict[str, str], tmp_path: Path) -> None:
    command = in_shell('exec "$@" 2>&-')
    with serving(environ, tmp_path / "server.log", command=command) as server:
        assert server.call("POST", "/v1/users", new_details()).status == 201
        assert server.call("GET", "/v1/users/me").status == 401


@ON_SQLITE
def test_processes_end_with_their_parent(app: Flask, environ: dict[str, str], tmp_path: Path) -> None:
    with serving(environ | {"TESSERA_WORKERS": "2"}, tmp_path / "server.log") as server:
        server.stop(signal.SIGKILL)
        wait_until(lambda: not server.listens(), "nobody listens any more")


@ON_SQLITE
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_processes_that_have_just_been_started_end_with_their_parent(
    environ: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    """They have not yet come to where the HTTP server heeds signals."""
    settings = environ | {"TESSERA_WORKERS": "2"}
    with serving(settings, tmp_path / "server.log", until_ready=False) as server:
        wait_until(lambda: len(server.children()) == 2, "both processes are started")
        children = server.children()
        server.stop(number)
        wait_until(lambda: all(map(has_ended, children)), "both processes have ended")


def test_what_the_processes_are_forked_from_has_nothing_open_that_they_would_share(
    app: Flask, environ: dict[str, str], tmp_path: Path
) -> None:
    with serving(environ | {"TESSERA_WORKERS": "2"}, tmp_path / "server.log") as server:
        assert server.call("POST", "/v1/users", new_details()).status == 201
        opened = [str(fd.readlink()) for fd in Path(f"/proc/{server.process.pid}/fd").iterdir()]
    assert not [name for name in opened if ".db" in name]
    assert len([name for name in opened if name.startswith("socket:")]) <= 1  # that it listens on


@contextmanager
def _slow_clients(server: Server, sent: bytes, count: int) -> Iterator[None]:
    """Hold `count` connections open that sent the beginning of a request and no more."""
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(sent)
        yield


@ON_SQLITE
@pytest.mark.parametrize("part", ["headers", "body"])
def test_200_slow_clients_leave_honest_ones_alone(server: Server, part: str) -> None:
    sent = b"POST /v1/users HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    if part == "body":
        sent += b'Content-Length: 100\r\n\r\n{"'
    with _slow_clients(server, sent, 200):
        answers = [server.call("GET", "/health/ready").status for _ in range(20)]
        signed_up = server.call("POST", "/v1/users", new_details()).status
    assert answers == [200] * 20
    assert signed_up == 201


def test_a_request_in_flight_is_answered_after_sigterm(
    app: Flask, environ: dict[str, str], tmp_path: Path
) -> None:
    settings = environ | {"PYTHONPATH": str(GATED), "TESSERA_GATE": str(tmp_path)}
    with (
        serving(settings, tmp_path / "server.log") as server,
        ThreadPoolExecutor(1) as pool,
        gate(tmp_path) as before_the_hash,
    ):
        in_flight = pool.submit(server.call, "POST", "/v1/users", new_details())
        before_the_hash.wait_for(1)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not server.listens(), "the server accepts no new connections")
        assert not in_flight.done()
        before_the_hash.let_go(1)
        assert in_flight.result().status == 201
        assert server.process.wait(DEADLINE) == 0


def test_what_was_acknowledged_survives_a_kill(app: Flask, environ: dict[str, str], tmp_path: Path) -> None:
    acknowledged: list[str] = []

    def sign_up_until_killed(server: Server) -> None:
        while True:
            try:
                answer = server.call("POST", "/v1/users", new_details())
            except (OSError, ValueError):
                return
            if answer.status == 201:
                acknowledged.append(answer.json["id"])

    two = environ | {"TESSERA_WORKERS": "2"}
    with serving(two, tmp_path / "server.log") as server, ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(sign_up_until_killed, server)
        count = random.randint(6, 30)
        wait_until(lambda: len(acknowledged) >= count, f"{count} sign-ups are acknowledged")
        server.kill()
    with app.app_context(), work.reading():
        page = listing.list_page(limit=200, cursor=None, sort="created_at", count="none")
        found = {str(user.id) for user in page.items}
    assert set(acknowledged) <= found


def test_every_log_line_is_json_and_holds_no_secret(server: Server) -> None:
    details = new_details(password="canary-7c1d9e5b-password")
    server.call("POST", "/v1/users", details)
    credentials = {"identifier": details["username"], "password": details["password"]}
    tokens = server.call("POST", "/v1/sessions", credentials).json
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    server.call("GET", "/v1/users/me", headers=bearer)
    server.call("POST", "/v1/sessions", {**credentials, "password": "canary-wrong"})
    server.call("GET", "/v1/users/me", headers={"User-Agent": "a\tb", "X-Request-Id": "own-id-1"})
    written = server.log.read_text()
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    requests = [line for line in lines if line["event"] == "request"]
    assert {"own-id-1"} < {line["request_id"] for line in requests}
    assert any(line.get("user_id") == tokens["user"]["id"] for line in requests)
    for secret in ("canary", tokens["access_token"], tokens["refresh_token"], details["email"]):
        assert secret not in written


@ON_SQLITE
def test_sqlite_is_durable(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        values = {name: raw.execute(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS}
    assert values == PRAGMAS


PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
