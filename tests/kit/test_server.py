"""The bridge between granian and WSGI, met through sockets by well and badly behaved clients."""

import gc
import hashlib
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.gates import Gate, arrive, gate, pass_gate
from tests.support.ports import free_port
from tests.support.servers import ROOT, STOPPED_AGAIN, listens
from tests.support.waiting import DEADLINE, wait_until

LIMIT = 65_536
PATIENT = 10 * DEADLINE  # body timeout in seconds: no test waits so long, so nothing ends by it
IMPATIENT = 1.0  # of a server whose timeout is waited for
THREADS = 2
PLACES = THREADS * 5  # requests that are worked on or wait for a thread
PART = 65_536
AHEAD = 12 * 2**20  # bytes of an answer that the sockets between server and client hold at most
PAGE = "https://app.example.com"
PROGRAM = f"""
import sys
from api.kit.cors import Cors
from api.kit.server import serve
if __name__ == "__main__":
    serve("tests.kit.test_server:make_app", port=int(sys.argv[1]), threads={THREADS},
          body_timeout=float(sys.argv[2]), cors=Cors(frozenset(["{PAGE}"])))
"""


def make_app() -> Any:  # noqa: C901  # many small routes
    """The application under the bridge; built in the server's process."""
    from flask import Flask, Response, request
    from werkzeug.exceptions import HTTPException

    from api.kit.logs import configure_logs

    configure_logs()

    app = Flask(__name__)

    @app.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> tuple[dict[str, Any], int]:
        return {"status": error.code}, error.code or 500

    @app.route("/environ/<path:rest>", methods=["GET", "POST"])
    @app.route("/environ", methods=["GET", "POST"])
    def environ(rest: str = "") -> dict[str, Any]:
        return {k: v for k, v in request.environ.items() if isinstance(v, str | bool)}

    @app.post("/operation")
    def operation() -> tuple[dict[str, int], int]:
        size = len(request.environ["wsgi.input"].read(LIMIT + 1))
        return {"size": size}, 413 if size > LIMIT else 200

    @app.post("/import")
    def stream() -> dict[str, Any]:
        digest, size = hashlib.sha256(), 0
        while piece := request.environ["wsgi.input"].read(10_000):
            digest.update(piece)
            size += len(piece)
        return {"size": size, "sha256": digest.hexdigest()}

    @app.get("/held")
    def held() -> dict[str, bool]:
        pass_gate(Path(request.args["gate"]))
        return {"held": True}

    both_here = threading.Barrier(THREADS)

    @app.get("/meet")
    def meet() -> dict[str, bool]:
        both_here.wait(DEADLINE)
        return {"met": True}

    @app.get("/busy")
    def busy() -> tuple[dict[str, bool], int]:
        arrive(Path(request.args["gate"]))
        return {"busy": True}, 503

    @app.get("/headers")
    def headers() -> Any:
        answer = Response("two")
        answer.headers.add("X-Two", "a")
        answer.headers.add("X-Two", "b")
        return answer

    @app.get("/parts")
    def parts() -> Any:
        return Response(f"part {n}\n" for n in range(3))

    made: list[int] = []

    @app.get("/long")
    def long() -> Any:
        made[:] = [0]

        def some() -> Iterator[bytes]:
            try:
                for _ in range(640):
                    made[0] += PART
                    yield b"x" * PART
            finally:
                made.append(0)  # it has ended

        return Response(some())

    @app.get("/made")
    def how_much() -> list[int]:
        return made

    @app.get("/breaks")
    def breaks() -> Any:
        gc.disable()  # what ends the answer is not that the collector happens to come by

        def some() -> Iterator[str]:
            yield "part 0\n"
            yield "part 1\n"
            error = ZeroDivisionError()  # which has its frame, which has it: so has SQLAlchemy's
            raise error

        return Response(some())

    @app.get("/collects")
    def collects() -> str:
        gc.enable()
        return ""

    @app.get("/escape")
    def escape() -> str:
        raise KeyboardInterrupt

    return app


class Server:
    """A granian process on a free port of this machine."""

    def __init__(self, log: Path, body_timeout: float, program: str) -> None:
        self.port = free_port()
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, str(self.port), str(body_timeout)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stderr=errors,
            )

    def answers(self) -> bool:
        """Return whether it answers requests yet."""
        assert self.process.poll() is None, f"the server ended: {self.log.read_text()}"
        return listens(self.port) and self.get("/environ")[0] == 200

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)

    def get(self, path: str, method: str = "GET") -> tuple[int, list[tuple[str, str]], bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)) as client:
            client.request(method, path)
            answer = client.getresponse()
            return answer.status, answer.getheaders(), answer.read()

    def raw(self, data: bytes) -> tuple[int, dict[str, Any]]:
        """Sends `data`, returns status and JSON body of the one answer."""
        with self.connect() as connection:
            connection.sendall(data)
            return receive(connection)

    def signal(self) -> None:
        """Send SIGTERM, and wait until no new connection is accepted."""
        self.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not listens(self.port), "the server stops")

    def stop(self) -> tuple[int, str]:
        """Send SIGTERM, and return the exit code and what was written to stderr."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(DEADLINE)
        return code, self.log.read_text()


@contextmanager
def running(folder: Path, body_timeout: float = PATIENT, program: str = PROGRAM) -> Iterator[Server]:
    """Start a server, and stop it at the end."""
    server = Server(folder / "server.log", body_timeout, program)
    try:
        wait_until(server.answers, "the server answers")
        yield server
    finally:
        server.stop()


def receive(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    body = answer.read()
    return answer.status, json.loads(body) if body else {}


def chunked(data: bytes, size: int = 5_000) -> bytes:
    pieces = (data[i : i + size] for i in range(0, len(data), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def post(path: str, framing: str, body: bytes = b"") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode() + body


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on which nothing happens because time has passed."""
    with running(tmp_path_factory.mktemp("patient")) as found:
        yield found
        assert found.stop()[0] == 0


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that soon gives up on clients that do not send, or read."""
    with running(tmp_path_factory.mktemp("impatient"), IMPATIENT) as found:
        yield found


@pytest.fixture
def unshared(tmp_path: Path) -> Iterator[Server]:
    """A server that no other test uses: the test may stop it, and count its places."""
    with running(tmp_path) as found:
        yield found


@pytest.fixture
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """The gate at which requests for `/held` wait, and which notes those for `/busy`."""
    with gate(tmp_path_factory.mktemp("gate")) as found:
        yield found


def environ_of(server: Server, *lines: str, target: str = "/environ") -> dict[str, Any]:
    head = "\r\n".join([f"GET {target} HTTP/1.1", *lines])
    status, environ = server.raw(f"{head}\r\n\r\n".encode("latin-1"))
    assert status == 200
    return environ


def test_environ_of_an_ordinary_request(server: Server) -> None:
    environ = environ_of(server, "Host: a.example", "X-A: b", target="/environ?q=%20")
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["PATH_INFO"] == "/environ"
    assert environ["QUERY_STRING"] == "q=%20"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("127.0.0.1", str(server.port))
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.input_terminated"] is True
    assert (environ["HTTP_HOST"], environ["HTTP_X_A"]) == ("a.example", "b")
    assert "CONTENT_LENGTH" not in environ and "CONTENT_TYPE" not in environ


def test_path_is_decoded_and_tunnelled_as_latin_1(server: Server) -> None:
    environ = environ_of(server, "Host: a", target="/environ/%C3%A9%2Fx")
    assert environ["PATH_INFO"] == "/environ/é/x".encode().decode("latin-1")


def test_doubled_headers_are_joined(server: Server) -> None:
    environ = environ_of(server, "Host: a", "Host: b", "Authorization: x", "authorization: y")
    assert environ["HTTP_HOST"] == "a,b"
    assert environ["HTTP_AUTHORIZATION"] == "x,y"


def test_missing_host_stays_missing(server: Server) -> None:
    assert "HTTP_HOST" not in environ_of(server, "X-A: b")


def test_authority_of_the_target_counts_as_a_host(server: Server) -> None:
    target = "http://b.example/environ"
    assert environ_of(server, "Host: a", target=target)["HTTP_HOST"] == "a,b.example"
    assert environ_of(server, "Host: b.example", target=target)["HTTP_HOST"] == "b.example"


def test_underscore_header_is_dropped(server: Server) -> None:
    environ = environ_of(server, "Host: a", "X_Forwarded_For: 6.6.6.6", "X-Forwarded-For: 1.1.1.1")
    assert environ["HTTP_X_FORWARDED_FOR"] == "1.1.1.1"
    assert "HTTP_X_FORWARDED_FOR" not in environ_of(server, "Host: a", "X_Forwarded_For: 6.6.6.6")


def test_unreadable_header_is_empty_not_absent(server: Server) -> None:
    assert environ_of(server, "Host: a", "Authorization: \xff")["HTTP_AUTHORIZATION"] == ""


def test_framing_is_visible(server: Server) -> None:
    _, environ = server.raw(post("/environ", "Content-Type: a/b\r\nContent-Length: 3", b"abc"))
    assert (environ["CONTENT_LENGTH"], environ["CONTENT_TYPE"]) == ("3", "a/b")
    _, environ = server.raw(post("/environ", "Transfer-Encoding: chunked", chunked(b"abc")))
    assert environ["HTTP_TRANSFER_ENCODING"] == "chunked"


@pytest.mark.parametrize(
    "head",
    [
        "Host: a\r\nContent-Length: 3\r\nContent-Length: 4",
        "Host: a\r\nContent-Length: +3",
        "Host: a\r\nTransfer-Encoding: xchunked",
        "Host: a\r\nContent-Length : 3",
        "Host: a\r\nX: a\r\n b",
        "Host: a\r\nX: a\0b",
    ],
)
def test_server_refuses_bad_framing_and_closes(server: Server, head: str) -> None:
    with server.connect() as connection:
        connection.sendall(f"POST /environ HTTP/1.1\r\n{head}\r\n\r\n".encode() + b"abcd")
        assert receive(connection) == (400, {})
        assert connection.recv(1) == b""


def test_length_and_chunks_together_give_one_answer_and_a_closed_connection(server: Server) -> None:
    second = b"GET /environ HTTP/1.1\r\nHost: smuggled\r\n\r\n"
    framing = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nX-A: first"
    with server.connect() as connection:
        connection.sendall(post("/environ", framing, chunked(b"abc") + second))
        status, environ = receive(connection)
        assert (status, environ["HTTP_X_A"]) == (200, "first")
        assert connection.recv(1) == b""


@pytest.mark.parametrize("size", [16_000, 17_000])
def test_header_limit(server: Server, size: int) -> None:
    status, _ = server.raw(b"GET /environ HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"a" * size))
    assert status == (200 if size < 16_384 else 431)


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT, LIMIT + 1, 1_000_000])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_bodies_of_any_size_arrive_whole(server: Server, size: int, framing: str) -> None:
    body = os.urandom(size)
    if framing == "length":
        request = post("/import", f"Content-Length: {size}", body)
    else:
        request = post("/import", "Transfer-Encoding: chunked", chunked(body))
    expected = {"size": size, "sha256": hashlib.sha256(body).hexdigest()}
    assert server.raw(request) == (200, expected)


@pytest.mark.parametrize("framing", ["Content-Length: 5000000", "Transfer-Encoding: chunked"])
def test_too_large_body_is_answered_while_it_is_sent(server: Server, framing: str) -> None:
    body = b"a" * 5_000_000
    with server.connect() as connection:
        connection.sendall(post("/operation", framing))
        connection.sendall(body if "Length" in framing else chunked(body))
        assert receive(connection) == (413, {"size": LIMIT + 1})
        assert connection.recv(1) == b""


def test_too_large_body_is_answered_before_it_has_come(server: Server) -> None:
    body = b"a" * (LIMIT + 1)
    status, _ = server.raw(post("/operation", "Content-Length: 5000000", body))
    assert status == 413


@pytest.mark.parametrize("tail", [b"zz\r\nabc\r\n", b"3\r\nabcd\r\n", b"0\r\nTrailer: x\r\n\r\n"])
def test_malformed_chunks_are_refused(server: Server, tail: bytes) -> None:
    with server.connect() as connection:
        request = post("/operation", "Transfer-Encoding: chunked", b"3\r\nabc\r\n" + tail)
        connection.sendall(request)
        status, problem = receive(connection)
        assert (status, problem["code"]) == (400, "malformed_request")
        assert connection.recv(1) == b""


@pytest.mark.parametrize(("origin", "allowed"), [(PAGE, PAGE), (f"{PAGE}.evil.example", None)])
def test_a_page_can_read_what_the_server_refuses(server: Server, origin: str, allowed: str | None) -> None:
    framing = f"Origin: {origin}\r\nTransfer-Encoding: chunked"
    with server.connect() as connection:
        connection.sendall(post("/operation", framing, b"zz\r\n"))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
    assert (answer.status, answer.headers["Vary"]) == (400, "Accept-Language, Origin")
    assert answer.headers["Access-Control-Allow-Origin"] == allowed


@pytest.mark.parametrize(
    ("wanted", "detail"), [("ko", "본문이 전송 도중에 끊어졌습니다."), ("fr", "The body broke off.")]
)
def test_the_server_refuses_in_the_language_of_the_reader(server: Server, wanted: str, detail: str) -> None:
    framing = f"Accept-Language: {wanted}\r\nTransfer-Encoding: chunked"
    assert server.raw(post("/operation", framing, b"zz\r\n"))[1]["detail"] == detail


def test_slow_bodies_take_no_thread(server: Server) -> None:
    with slow_bodies(server) as slow:
        assert server.get("/environ")[0] == 200
        readable, _, _ = select.select(slow, [], [], 0)
        assert readable == [], "the honest request waited for the slow ones"


def test_slow_bodies_are_cut(impatient: Server) -> None:
    with slow_bodies(impatient) as slow:
        answers = [receive(connection) for connection in slow]
        codes = {(status, problem["code"]) for status, problem in answers}
        assert codes == {(408, "request_timeout")}
        assert [connection.recv(1) for connection in slow] == [b""] * 60


@contextmanager
def slow_bodies(server: Server) -> Iterator[list[socket.socket]]:
    """Open 60 connections that have sent the beginning of a body and no more."""
    framings = ("Content-Length: 9", "Content-Length: 99999", "Transfer-Encoding: chunked")
    with ExitStack() as stack:
        slow = [stack.enter_context(server.connect()) for _ in range(60)]
        for n, connection in enumerate(slow):
            connection.sendall(post("/operation", framings[n % 3], b"1\r\na"))
        yield slow


def test_stream_that_stalls_is_answered_408(impatient: Server) -> None:
    request = post("/import", "Content-Length: 100000", b"a" * (LIMIT + 10))
    assert impatient.raw(request) == (408, {"status": 408})


@pytest.mark.parametrize("path", ["/operation", "/import"])
@pytest.mark.parametrize("size", [3, LIMIT + 10])
@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_client_that_leaves_does_no_harm(server: Server, path: str, size: int, framing: str) -> None:
    body = b"a" * size
    sent = body if "Length" in framing else chunked(body).removesuffix(b"0\r\n\r\n")
    for _ in range(THREADS + 1):
        with server.connect() as connection:
            connection.sendall(post(path, framing, sent))
    assert server.get("/environ")[0] == 200


def test_repeated_response_headers_are_kept(server: Server) -> None:
    _, headers, body = server.get("/headers")
    assert [value for name, value in headers if name == "x-two"] == ["a", "b"]
    assert body == b"two"


def test_head_keeps_the_length_and_sends_no_body(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"HEAD /headers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        data = b"".join(iter(lambda: connection.recv(4096), b""))
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"content-length: 3" in head.lower()
    assert body == b""


def test_response_in_parts(server: Server) -> None:
    assert server.get("/parts")[2] == b"part 0\npart 1\npart 2\n"


def test_a_response_is_made_no_faster_than_it_is_read(server: Server) -> None:
    """Else it is all in memory."""
    with server.connect() as connection:
        connection.sendall(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
        read = 0
        for _ in range(50):
            read += len(connection.recv(PART))
            assert made(server)[0] < read + AHEAD, "of 40 MiB"
        assert not has_ended(server)
    wait_until(lambda: has_ended(server), "the response to a client that has left ends")


def test_who_does_not_read_a_response_on_takes_no_thread_for_long(impatient: Server) -> None:
    with impatient.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(1)
        wait_until(lambda: has_ended(impatient), "the response that nobody reads ends")


def made(server: Server) -> list[int]:
    """Return how much of the last long response was made, and a 0 if it has ended."""
    found: list[int] = json.loads(server.get("/made")[2])
    return found


def has_ended(server: Server) -> bool:
    """Return whether the last long response has ended."""
    return len(made(server)) == 2


def test_a_long_response_is_whole(server: Server) -> None:
    assert server.get("/long")[2] == b"x" * (640 * PART)


def test_a_response_that_fails_in_the_middle_ends(server: Server) -> None:
    try:
        assert server.get("/breaks")[2] == b"part 0\npart 1\n"
    finally:
        server.get("/collects")
    wait_until(lambda: "ZeroDivisionError" in server.log.read_text(), "the error is logged")


def test_requests_beyond_threads_and_queue_are_refused(unshared: Server, held: Gate) -> None:
    with full(unshared, held) as connections:
        held.let_go(PLACES)
        assert [receive(connection) for connection in connections] == [(200, {"held": True})] * PLACES


@contextmanager
def full(server: Server, held: Gate) -> Iterator[list[socket.socket]]:
    """Yield connections whose requests have all places of a server: it refuses one more."""
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(PLACES + 1)]
        for number, connection in enumerate(connections):
            if number == THREADS:
                held.wait_for(THREADS)  # the threads are done with all that came before
            connection.sendall(f"GET /held?gate={held.folder} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        refused, _, _ = select.select(connections, [], [], DEADLINE)
        assert len(refused) == 1, "one more than threads and queue is too many"
        status, problem = receive(refused[0])
        assert (status, problem["code"]) == (503, "overloaded")
        connections.remove(refused[0])
        yield connections


def test_a_refusal_of_the_application_waits_without_a_place(server: Server, held: Gate) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(PLACES + 5)]
        for connection in connections:
            send_busy(connection, held)
        assert server.get("/environ")[0] == 200
        answers = [receive(connection) for connection in connections]
        assert answers == [(503, {"busy": True})] * len(connections)


def send_busy(connection: socket.socket, held: Gate) -> None:
    """Send a request that the application refuses, and wait until it does."""
    connection.sendall(f"GET /busy?gate={held.folder} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    held.wait_for(1)


def test_term_lets_refusals_be_answered(unshared: Server, held: Gate) -> None:
    with unshared.connect() as connection:
        send_busy(connection, held)
        unshared.process.send_signal(signal.SIGTERM)
        assert receive(connection) == (503, {"busy": True})
    assert unshared.stop() == (0, "")


def test_term_while_it_exits_leaves_the_exit_code_0(tmp_path: Path) -> None:
    """Whoever supervises a server may send SIGTERM again, and must not see a failure."""
    with running(tmp_path, program=STOPPED_AGAIN + PROGRAM) as server:
        assert server.stop() == (0, "")


def test_two_threads_work_at_the_same_time(server: Server) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(server.get, ["/meet"] * THREADS))
    assert [status for status, _, _ in answers] == [200] * THREADS


def test_term_lets_requests_finish_and_exits_0(unshared: Server, held: Gate) -> None:
    with full(unshared, held) as connections:
        unshared.signal()
        held.let_go(PLACES)
        assert [receive(connection)[0] for connection in connections] == [200] * PLACES
    code, log = unshared.stop()
    assert (code, "Traceback" in log) == (0, False)


def test_exception_that_escapes_is_500_and_logged(server: Server) -> None:
    status, _, body = server.get("/escape")
    assert (status, json.loads(body)["code"]) == (500, "internal_error")
    assert server.get("/environ")[0] == 200
    lines = server.log.read_text().splitlines()
    failures = [json.loads(line) for line in lines if "wsgi_application_failed" in line]
    assert "KeyboardInterrupt" in {failure["exception"][0]["exc_type"] for failure in failures}


def test_idle_and_slow_connections_do_not_outlast_the_stop(tmp_path: Path) -> None:
    with running(tmp_path, body_timeout=0.2) as server, server.connect() as idle, server.connect() as slow:
        idle.sendall(b"GET /environ HTTP/1.1\r\nHost: a\r\n\r\n")
        assert receive(idle)[0] == 200
        slow.sendall(post("/operation", "Content-Length: 9", b"a"))
        assert server.stop()[0] == 0
