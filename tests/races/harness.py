"""The race harness: two servers of one database, a barrier start, pauses that widen the window.

Nothing is sent twice: a refused connection, or an answer that the contract does not hold, is a failure.
What is random follows from pytest's --randomly-seed, so a run can be repeated as far as threads can.
"""

import http.client
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import Flask
from werkzeug.datastructures import Headers

from api.kit import work
from api.kit.db import db
from api.sessions.models import Session
from tests.support.clients import PASSWORD, contract_of, new_details
from tests.support.contract import Contract
from tests.support.servers import Answer, Server, serving
from tests.support.waiting import DEADLINE
from tests.support.watching import in_parallel

SLOW_FEATURE = Path(__file__).parent / "slow_feature"
PROCESSES = (0, 1)
REFRESH = "/v1/sessions/refresh"
ME = "/v1/users/me"
SESSION_ENDED = (401, "session_ended")
INVALID_TOKEN = (401, "invalid_token")
REUSED = (401, "refresh_token_reused")

RACED = "users|sessions|revocations|pg_advisory"  # statements that races are about
AS_IT_IS = (0, RACED)  # milliseconds at most, after these statements

Tokens = dict[str, Any]  # what signing in and refreshing give


@dataclass(frozen=True)
class Request:
    """A request for one of the two servers, sent so many seconds after the start."""

    at: int
    method: str
    path: str
    body: Any = None
    token: str | None = None
    after: float = 0.0


class Pair:
    """Two servers, each a process, on one database."""

    def __init__(self, servers: Sequence[Server], controls: Sequence[Path], contract: Contract) -> None:
        self.servers = servers
        self._controls = controls
        self._contract = contract
        self.widest = 0  # milliseconds that a statement is followed by at most, in a wide round
        self._pauses = AS_IT_IS

    def rounds(self, times: int, *, times_wider: int = 1, after: str = RACED) -> Iterator[int]:
        """Count rounds: every other one is raced in a wide window, the last one among them.

        The window is open after each statement that matches `after`, a regular expression.
        """
        for number in range(times):
            is_wide = (times - number) % 2 == 1
            self._pauses = (self.widest * times_wider, after) if is_wide else AS_IT_IS
            yield number
        self.rest()

    def rest(self) -> None:
        """Let no race from now on be in a wide window."""
        self._pauses = AS_IT_IS

    @contextmanager
    def widened(self) -> Iterator[None]:
        """Let statements meanwhile be followed by pauses, in a wide round."""
        self._tell(*self._pauses)
        try:
            yield
        finally:
            self._tell(*AS_IT_IS)

    def _tell(self, milliseconds: int, statements: str) -> None:
        for control in self._controls:
            _write(control, milliseconds, statements)

    def send(self, request: Request) -> Answer:
        """Send one request, and return its answer."""
        return self.judged(request, self.prepared(request)())

    def race(self, requests: Sequence[Request], beside: Callable[[], None] | None = None) -> list[Answer]:
        """Send all at once, with a call of our own beside them, and return their answers in order."""
        calls: list[Callable[[], Any]] = [self.prepared(request) for request in requests]
        with self.widened():
            answers = together([*calls, beside] if beside else calls)
        return [self.judged(request, answer) for request, answer in zip(requests, answers, strict=False)]

    def prepared(self, request: Request) -> Callable[[], Answer]:
        """Return what sends a request on a connection that is open already."""
        connection = http.client.HTTPConnection("127.0.0.1", self.servers[request.at].port, timeout=DEADLINE)
        connection.connect()
        connection.auto_open = 0  # a connection that the server closed is not opened again
        return partial(exchange, connection, request)

    @contextmanager
    def connections(self) -> Iterator[Callable[[Request], Answer]]:
        """Yield what sends requests one after the other, on one connection to each server."""
        with ExitStack() as stack:
            opened = [http.client.HTTPConnection("127.0.0.1", s.port, timeout=DEADLINE) for s in self.servers]
            for connection in opened:
                stack.callback(connection.close)
                connection.connect()
                connection.auto_open = 0

            def send(request: Request) -> Answer:
                answer = exchange(opened[request.at], request, keep=True)
                return self.judged(request, answer)

            yield send

    def judged(self, request: Request, answer: Answer) -> Answer:
        """Return an answer that keeps the contract; no answer here may be the service's own failure."""
        self._contract.check(request.method, request.path, answer.status, answer.headers, answer.body)
        assert answer.status < 500, f"{request.method} {request.path}: {answer.body!r}"
        return answer

    def end(self, tokens: Tokens) -> None:
        """Sign out at the first server."""
        request = Request(0, "DELETE", "/v1/sessions/current", token=tokens["access_token"])
        assert self.send(request).status == 204

    def refuses(self, given: Iterable[Tokens]) -> None:
        """Fail unless each access and each refresh token is refused at both servers."""
        tokens = list(given)
        for at in PROCESSES:
            for access_token in {one["access_token"] for one in tokens}:
                assert refusal(self.send(Request(at, "GET", ME, token=access_token))) == INVALID_TOKEN
            for refresh_token in {one["refresh_token"] for one in tokens}:
                assert refusal(self.send(refreshing(at, refresh_token))) == SESSION_ENDED

    def accepts(self, given: Iterable[Tokens]) -> None:
        """Fail unless each access token, and then the refresh token of all, is good at both servers."""
        tokens = list(given)
        for at in PROCESSES:
            for access_token in {one["access_token"] for one in tokens}:
                assert self.send(Request(at, "GET", ME, token=access_token)).status == 200
            [refresh_token] = {one["refresh_token"] for one in tokens}
            assert self.send(refreshing(at, refresh_token)).status == 200


@dataclass
class Member:
    """Somebody with an account, at a pair of servers."""

    pair: Pair
    username: str
    password: str = PASSWORD
    id: str = ""

    def signing_in(self, at: int, *, password: str | None = None, after: float = 0.0) -> Request:
        credentials = {"identifier": self.username, "password": password or self.password}
        return Request(at, "POST", "/v1/sessions", credentials, after=after)

    def sign_in(self, at: int = 0) -> Tokens:
        return given(self.pair.send(self.signing_in(at)))

    def sign_in_often(self, times: int) -> list[Tokens]:
        """Start so many sessions, some at once."""
        few = 8  # who hash at once do not wait too long
        requests = [self.signing_in(number % 2) for number in range(times)]
        batches = [requests[i : i + few] for i in range(0, times, few)]
        return [given(answer) for batch in batches for answer in self.pair.race(batch)]


def new_member(pair: Pair) -> Member:
    """Sign somebody up."""
    details = new_details()
    answer = pair.send(Request(0, "POST", "/v1/users", details))
    assert answer.status == 201, answer.body
    return Member(pair, details["username"], id=answer.json["id"])


def refreshing(at: int, refresh_token: str, after: float = 0.0) -> Request:
    return Request(at, "POST", REFRESH, {"refresh_token": refresh_token}, after=after)


def rotated(pair: Pair, tokens: Tokens, at: int = 0) -> Tokens:
    """Return what refreshing gives, once."""
    return given(pair.send(refreshing(at, tokens["refresh_token"])))


def using(at: int, tokens: Tokens) -> Request:
    """Return a use of an access token."""
    return Request(at, "GET", ME, token=tokens["access_token"])


def given(answer: Answer) -> Tokens:
    """Return the tokens of an answer that must have some."""
    assert answer.status in (200, 201), answer.body
    found: Tokens = answer.json
    return found


def all_given(answers: Iterable[Answer]) -> list[Tokens]:
    """Return the tokens of those answers that have some."""
    return [answer.json for answer in answers if answer.status in (200, 201)]


def refusal(answer: Answer) -> tuple[int, str]:
    """Return the status and the code of a refusal."""
    assert answer.status >= 400, f"{answer.status} is no refusal"
    return answer.status, str(answer.json["code"])


def outcome(answer: Answer) -> tuple[int, str]:
    """Return the status of an answer, with the code of an error or nothing."""
    return refusal(answer) if answer.status >= 400 else (answer.status, "")


def sid(tokens: Tokens) -> str:
    return str(tokens["session"]["id"])


def jitter(longest: float = 0.03) -> float:
    """Return a random number of seconds, so that each round meets in another place."""
    return random.uniform(0, longest)


def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Make all calls at once, each in a thread of its own, and return what they give."""
    return in_parallel(len(calls), lambda number: calls[number]())


def exchange(connection: http.client.HTTPConnection, request: Request, *, keep: bool = False) -> Answer:
    """Send a request on an open connection, in one piece, and return the answer."""
    body = None if request.body is None else json.dumps(request.body).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    if request.token is not None:
        headers["Authorization"] = f"Bearer {request.token}"
    try:
        time.sleep(request.after)  # slow peer: a client that sends a little later than the others
        connection.request(request.method, request.path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, Headers(response.getheaders()), response.read())
    finally:
        if not keep:
            connection.close()


def set_session(app: Flask, session_id: str, **values: Any) -> None:
    """Write columns of a session behind the service's back."""
    with app.app_context(), work.writing():
        db.session.execute(sa.update(Session).where(Session.id == UUID(session_id)).values(**values))


@contextmanager
def two_servers(app: Flask, environ: Mapping[str, str], folder: Path, widest: int) -> Iterator[Pair]:
    """Start two servers of one process each, side by side; rounds are widened up to so many milliseconds."""
    controls = [folder / f"server-{number}" for number in PROCESSES]
    for control in controls:
        _write(control, *AS_IT_IS)

    def started(number: int) -> tuple[ExitStack, Server]:
        own = {"TESSERA_SLOW_CONTROL": str(controls[number]), "TESSERA_WORKERS": "1"}
        stack = ExitStack()
        manager = serving({**environ, "PYTHONPATH": str(SLOW_FEATURE), **own}, folder / f"{number}.log")
        return stack, stack.enter_context(manager)

    running = in_parallel(len(PROCESSES), started)
    pair = Pair([server for _, server in running], controls, contract_of(app))
    pair.widest = widest
    try:
        yield pair
    finally:
        in_parallel(len(PROCESSES), lambda number: running[number][0].close())


def _write(control: Path, milliseconds: int, statements: str) -> None:
    """Tell a server at one stroke what its pauses shall be."""
    seed = random.getrandbits(32)
    if milliseconds:
        print(f"{control.name}: at most {milliseconds} ms after {statements}, seed {seed}")
    whole = control.with_suffix(".new")
    whole.write_text(f"{milliseconds} {seed} {statements}", encoding="ascii")
    whole.replace(control)
