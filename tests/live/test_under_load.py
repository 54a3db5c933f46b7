"""`tessera serve` under load: slow, idle and many clients, SIGTERM amid them, and whether anything grows."""

import json
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from api.kit import work
from api.kit.db import db
from api.users.models import User
from benchmarks.growth import State, Watch
from benchmarks.journeys import Pace, travelling
from benchmarks.soak import ADMINISTRATOR, age, make_administrator
from tests.support.chores import do_chores
from tests.support.clients import PASSWORD, new_details
from tests.support.crowds import Wanted, ask, crowd, dribble, is_closed, receive, send, until_gone
from tests.support.databases import ON_SQLITE
from tests.support.servers import Answer, Server, in_shell, serving, with_options
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.long

IDLE = 2000
SLOW = 200
FEW = 512  # descriptors
SPARE = 20  # descriptors and threads that come with the first work of a kind
CLIENTS = 18
TRAVELLERS = 8
WARMING_UP, SOAK = 500, 1000  # requests
SOAK_SECONDS = 300.0  # at most: a busy machine is slow
LEAK = 20.0  # KiB that a request may leave behind, on the average
# What is left of users, and of all that is theirs: the administrator, who signed in.
LEFT = {
    "users": 1,
    "role_members": 1,
    "sessions": 2,  # the administrator's, who signed in both times
    "one_time_tokens": 1,
    "outbox": 0,
    "idempotency_keys": 0,
    "revocations": 0,
    "audit_unsealed": 0,
}
POST = b"POST /v1/users HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.fixture
def patient(app: Flask, environ: dict[str, str]) -> dict[str, str]:
    """The variables of a service that delivers nothing: who counts descriptors wants no others' work."""
    return environ | {"TESSERA_WORKER": "apart"}


@ON_SQLITE
def test_2000_idle_connections_leave_honest_clients_alone(patient: dict[str, str], tmp_path: Path) -> None:
    command = with_options(header_timeout=10 * DEADLINE)  # as long as that nobody is idle for too long
    with serving(patient, tmp_path / "log", command=command) as server, crowd(server, IDLE) as idle:
        assert Counter(map(ask, idle)) == {200: IDLE}
        assert server.call("GET", "/health/ready").status == 200
        assert server.call("POST", "/v1/users", new_details()).status == 201
        assert Counter(map(ask, idle)) == {200: IDLE}


@ON_SQLITE
def test_connections_leave_a_process_the_descriptors_that_it_works_with(
    patient: dict[str, str], tmp_path: Path
) -> None:
    """A sign-in opens a file to take its turn to hash, SQLite its own."""
    command = in_shell(f'ulimit -n {FEW}; exec "$@"')
    details = new_details()
    credentials = {"identifier": details["username"], "password": PASSWORD}
    with serving(patient, tmp_path / "log", command=command) as server, crowd(server, 2 * FEW) as many:
        for connection in many:
            send(connection)
        assert receive(many[0]).status == 200
        assert ask(many[0], "POST", "/v1/users", details) == 201
        assert [ask(many[0], "POST", "/v1/sessions", credentials) for _ in range(3)] == [201] * 3
        wait_until(server.rests, "the server rests, and does not try over and over to take more")


@ON_SQLITE
def test_400_slow_clients_leave_honest_ones_alone(patient: dict[str, str], tmp_path: Path) -> None:
    command = with_options(header_timeout=10 * DEADLINE, body_timeout=10 * DEADLINE)
    with serving(patient, tmp_path / "log", command=command) as server, _slow_clients(server) as slow:
        honest = _Honest(server)
        for _ in range(4):
            honest.work()
            assert dribble(slow) == slow
        server.kill()  # who is slow would not let it stop


@ON_SQLITE
def test_400_slow_clients_are_cut(patient: dict[str, str], tmp_path: Path) -> None:
    command = with_options(header_timeout=2.0, body_timeout=3.0)
    with serving(patient, tmp_path / "log", command=command) as server:
        _Honest(server).work()
        before = server.descriptors()
        with _slow_clients(server) as slow:
            wait_until(lambda: not dribble(slow), "all of them are answered or cut")
            refusals = [receive(connection) for connection in slow[:SLOW]]
            assert {(one.status, one.json["code"]) for one in refusals} == {(408, "request_timeout")}
            assert all(map(is_closed, slow))
        wait_until(lambda: server.descriptors() <= before + SPARE, "their descriptors are closed")


@contextmanager
def _slow_clients(server: Server) -> Iterator[list[socket.socket]]:
    """Yield connections that sent a part of a request, half of them of its body and half of its headers."""
    with crowd(server, 2 * SLOW) as slow:
        for connection in slow[:SLOW]:
            connection.sendall(POST + b'Content-Length: 60000\r\n\r\n{"username": "')
        for connection in slow[SLOW:]:
            connection.sendall(POST + b"X-Slow: ")
        yield slow


class _Honest:
    """Somebody with an account, who uses it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._details = new_details()
        assert server.call("POST", "/v1/users", self._details).status == 201

    def work(self) -> None:
        """Sign in, read one's own profile, refresh, and sign out; every answer must be right."""
        credentials = {"identifier": self._details["username"], "password": PASSWORD}
        tokens = self._call(201, "POST", "/v1/sessions", credentials).json
        tokens = self._call(
            200, "POST", "/v1/sessions/refresh", {"refresh_token": tokens["refresh_token"]}
        ).json
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        profile = self._call(200, "GET", "/v1/users/me", headers=bearer).json
        assert profile["username"] == self._details["username"]
        self._call(204, "DELETE", "/v1/sessions/current", headers=bearer)

    def _call(self, status: int, *request: Any, **more: Any) -> Answer:
        answer = self._server.call(*request, **more)
        assert answer.status == status, answer.body
        return answer


@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_under_load_fails_no_request_that_was_taken(
    app: Flask, environ: dict[str, str], tmp_path: Path, processes: int
) -> None:
    """A request is taken once the server has read all of it, so whatever was sent before the signal is.

    One that is sent on a kept connection while the server closes it may meet nobody: its sender sees
    the end of the connection, no byte of an answer, and may send it again (RFC 9112 section 9.6).
    """
    log = tmp_path / "log"
    with serving(environ | {"TESSERA_WORKERS": str(processes)}, log) as server:
        bearer = _bearer_of_somebody(server)
        with ThreadPoolExecutor(CLIENTS) as pool:
            busy = [pool.submit(until_gone, server, _wishes(number, bearer)) for number in range(CLIENTS)]
            count = random.randint(CLIENTS, 20 * CLIENTS)
            wait_until(lambda: len(_processed(log)) >= count, f"{count} requests are answered")
            stopped_at = time.monotonic()
            assert server.stop() == 0
            fates = [fate for client in busy for fate in client.result()]
    processed = _processed(log)
    answered = {fate.id for fate in fates if fate.answer is not None}
    assert not [fate for fate in fates if fate.broke_off], "the answer ended before its end"
    assert not [fate for fate in fates if fate.sent_at < stopped_at and fate.answer is None]
    assert processed & {fate.id for fate in fates} == answered
    assert {fate.answer.status for fate in fates if fate.answer} == {200, 201}
    assert {fate.answer.json["id"] for fate in fates if fate.answer and fate.answer.status == 201} <= _users(
        app
    )


def _wishes(number: int, bearer: dict[str, str]) -> Iterator[Wanted]:
    """Yield what a client wants, without an end: a third of them sign people up, the others read."""
    while True:
        if number % 3 == 0:
            yield "POST", "/v1/users", new_details(), {}
        else:
            yield "GET", "/v1/users/me", None, bearer


def _bearer_of_somebody(server: Server) -> dict[str, str]:
    details = new_details()
    assert server.call("POST", "/v1/users", details).status == 201
    credentials = {"identifier": details["username"], "password": PASSWORD}
    return {
        "Authorization": f"Bearer {server.call('POST', '/v1/sessions', credentials).json['access_token']}"
    }


def _processed(log: Path) -> set[str]:
    """Return the ids of the requests that a server says it has answered."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return {line["request_id"] for line in lines if line["event"] == "request"}


def _users(app: Flask) -> set[str]:
    with app.app_context(), work.reading():
        return set(map(str, db.session.scalars(sa.select(User.id))))


def _after(requests: int, server: Server, watch: Watch, pace: Pace) -> State:
    """Let people travel for so many requests, and return what there is when they rest."""
    enough = len(pace.latencies) + requests

    def is_enough() -> bool:
        check()
        return len(pace.latencies) >= enough

    with travelling(server.port, TRAVELLERS, ADMINISTRATOR, pace) as check:
        wait_until(is_enough, f"{requests} requests are answered", SOAK_SECONDS)
    return watch.look()


def test_nothing_grows_with_the_requests(app: Flask, environ: dict[str, str], tmp_path: Path) -> None:
    """What somebody did who deleted the account is gone with it, but for the trail."""
    make_administrator(environ)
    pace = Pace()
    with (
        serving(environ, tmp_path / "log") as server,
        closing(Watch(server.process.pid, environ["TESSERA_DATABASE_URL"])) as watch,
    ):
        warm, already = _after(WARMING_UP, server, watch, pace), len(pace.latencies)
        then, requests = _after(SOAK, server, watch, pace), len(pace.latencies) - already
        assert (then.memory - warm.memory) * 1024 / requests < LEAK, "KiB a request"
        assert then.descriptors - warm.descriptors < SPARE
        assert then.threads - warm.threads < SPARE
        age(watch.engine)
        do_chores(app)
        wait_until(lambda: _left(watch) == LEFT, "nothing is left of users who are gone")


def _left(watch: Watch) -> dict[str, int]:
    rows = watch.look().rows
    return {name: rows[name] for name in LEFT}
