"""Compares HTTP servers for one Flask application: cost, slow clients, stopping, large bodies.

    python benchmarks/servers.py                  every candidate, about seven minutes
    python benchmarks/servers.py --only bridge --rounds 1 --seconds 8

Each candidate runs in one process pinned on one core, the clients on another. Its cost is the CPU
time, user and system, of all its processes per request, with 8 keep-alive connections; the median
of the rounds, which are interleaved in random order. A wrong answer ends the run. Then, once each:
200 clients that send one byte of a body a second, 200 that do so with headers, SIGTERM with six
requests in flight, and 1 MiB in chunks for an operation that takes 64 KiB. Only this machine is
loaded, and only processes started here are ended. Progress goes to stderr, a table to stdout.
"""

import argparse
import http.client
import importlib.util
import os
import random
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
TICKS = os.sysconf("SC_CLK_TCK")
BODY_LIMIT = 65_536
SLOW_CLIENTS = 200
IN_FLIGHT = 6
PATIENCE = 5.0
"""Seconds an honest client waits for its answer while slow ones are there."""

PROFILE = b'{"id":"018f","email":"user@example.com","roles":["user"]}'
DOCUMENT = b'{"a":1,"email":"user@example.com"}'
REQUESTS = {
    "GET": b"GET /me HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n",
    "POST": b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(DOCUMENT), DOCUMENT),
}


def make_app() -> Any:
    """Returns the Flask application that every candidate serves."""
    from flask import Flask, Response, request

    app = Flask(__name__)

    @app.get("/me")
    def me() -> Response:
        return Response(PROFILE, mimetype="application/json")

    @app.post("/echo")
    def echo() -> Any:
        return request.get_json()

    @app.post("/limited")
    def limited() -> tuple[str, int]:
        size = len(request.environ["wsgi.input"].read(BODY_LIMIT + 1))
        return str(size), 413 if size > BODY_LIMIT else 200

    @app.get("/slow")
    def slow() -> str:
        time.sleep(1)
        return "slow"

    return app


@dataclass
class Candidate:
    """A server to measure: `needs` is the package it is in, `command` takes the port as {port}."""

    name: str
    needs: str
    command: list[str]
    cost: dict[str, list[float]] = field(default_factory=lambda: {"GET": [], "POST": []})
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.needs) is not None


def candidates(body_timeout: float) -> list[Candidate]:
    """Returns all candidates; only the bridge has a `body_timeout`, in seconds."""
    bridge = (
        "from api.kit.server import serve; "
        f"serve('servers:make_app', port={{port}}, body_timeout={body_timeout})"
    )
    found = [Candidate("bridge, 16 threads", "granian", ["-c", bridge])]
    for threads in (16, 64, 256):
        options = f"--interface wsgi --factory --blocking-threads {threads} --port {{port}} --no-ws"
        options += " --http1-header-read-timeout 5000 --workers-kill-timeout 25 --log-level error"
        name = f"granian WSGI, {threads} threads"
        command = ["-m", "granian", *options.split(), "servers:make_app"]
        found.append(Candidate(name, "granian", command))
    for worker, size in (("gthread", "--threads 16"), ("gevent", "--worker-connections 1000")):
        options = f"-k {worker} {size} -b 127.0.0.1:{{port}} --keep-alive 75 --no-control-socket"
        command = ["-m", "gunicorn", *options.split(), "--log-level", "error", "servers:make_app()"]
        needs = "gevent" if worker == "gevent" else "gunicorn"
        found.append(Candidate(f"gunicorn {worker}", needs, command))
    options = "--listen=127.0.0.1:{port} --threads=16 --connection-limit=1000 --call"
    command = ["-m", "waitress", *options.split(), "servers:make_app"]
    found.append(Candidate("waitress", "waitress", command))
    return found


class Running:
    """A candidate's process, answering on `port`."""

    def __init__(self, candidate: Candidate, core: int, log: IO[bytes]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        command = [part.replace("{port}", str(self.port)) for part in candidate.command]
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, *command],
            env={**os.environ, "PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}"},
            cwd=HERE,
            stdout=log,
            stderr=log,
        )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 15
        while self.get("/me") != 200:
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{self.process.args!r} does not answer")
            time.sleep(0.05)

    def get(self, path: str, timeout: float = PATIENCE) -> int | None:
        """Returns the status of a GET on a new connection, None without an answer in time."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            client.request("GET", path)
            answer = client.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            client.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def cpu(self) -> float:
        """Returns the microseconds all its processes have used, ended children included."""
        return sum(_cpu_ticks(pid) for pid in _tree(self.process.pid)) / TICKS * 1e6


def _tree(pid: int) -> list[int]:
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _tree(int(child))
    return found


def _cpu_ticks(pid: int) -> int:
    """utime, stime, cutime and cstime of proc(5), in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


@contextmanager
def running(candidate: Candidate, core: int) -> Iterator[Running]:
    """Starts a candidate and ends it, by its process ids, whatever happens."""
    with tempfile.TemporaryFile() as log:
        server = Running(candidate, core, log)
        try:
            yield server
        finally:
            family = _tree(server.process.pid)
            server.process.terminate()
            try:
                server.process.wait(5)
            except subprocess.TimeoutExpired:
                for pid in family:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                server.process.wait(5)


class Client:
    """One keep-alive connection that sends the same request again and again."""

    def __init__(self, server: Running, request: bytes, expected: bytes) -> None:
        self.socket = server.connect()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request, self.expected = request, expected
        self.received = b""
        self.sent_at = 0.0

    def send(self) -> None:
        self.received = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(self.request)

    def receive(self) -> float | None:
        """Returns the seconds the answer took once it is whole; ends the run if it is wrong."""
        data = self.socket.recv(65_536)
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        if data and (not found or len(body) < int(length)):
            return None
        if not head.startswith(b"HTTP/1.1 200 ") or body.strip() != self.expected:
            sys.exit(f"wrong answer: {self.received[:300]!r}")
        return time.perf_counter() - self.sent_at


def load(server: Running, method: str, connections: int, seconds: float) -> list[float]:
    """Keeps `connections` busy and returns the latency of every answer, in seconds."""
    expected = PROFILE if method == "GET" else DOCUMENT
    latencies: list[float] = []
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(connections):
            client = Client(server, REQUESTS[method], expected)
            stack.enter_context(client.socket)
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send()
        end = time.perf_counter() + seconds
        busy = connections
        while busy:
            for key, _ in selector.select(PATIENCE):
                latency = key.data.receive()
                if latency is None:
                    continue
                latencies.append(latency)
                if time.perf_counter() < end:
                    key.data.send()
                else:
                    busy -= 1
    return latencies


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def measure_cost(candidate: Candidate, core: int, seconds: float) -> None:
    """One round: GET, then POST, each after a short warming-up."""
    with running(candidate, core) as server:
        for method, costs in candidate.cost.items():
            load(server, method, 8, 0.3)
            before = server.cpu()
            latencies = load(server, method, 8, seconds)
            time.sleep(0.1)
            costs.append((server.cpu() - before) / len(latencies))
            if method == "GET":
                candidate.p50.append(percentile(latencies, 0.5) * 1000)
                candidate.p99.append(percentile(latencies, 0.99) * 1000)


def slow_clients(server: Running, opening: bytes, seconds: float) -> str:
    """Has SLOW_CLIENTS send `opening`, then a byte a second; tells how an honest GET fares."""
    latencies: list[float] = []
    stop = threading.Event()

    def honest() -> None:
        while not stop.wait(0.05):
            began = time.perf_counter()
            answered = server.get("/me") == 200
            latencies.append(time.perf_counter() - began if answered else PATIENCE)

    watcher = threading.Thread(target=honest)
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(SLOW_CLIENTS)]
        for client in clients:
            client.sendall(opening)
            client.setblocking(False)
        watcher.start()
        cut = dribble(clients, seconds)
        stop.set()
        watcher.join()
    p95 = percentile(latencies, 0.95)
    honest_text = "blocked" if p95 >= PATIENCE else f"{p95 * 1000:.0f} ms"
    when = f"{len(cut)} cut after {statistics.median(cut):.0f} s" if cut else "none cut"
    return f"{honest_text}; {when}"


def dribble(clients: list[socket.socket], seconds: float) -> list[float]:
    """Sends a byte a second on each connection; returns when, in seconds, each was cut off."""
    began = time.monotonic()
    cut: list[float] = []
    alive = list(clients)
    while time.monotonic() - began < seconds:
        time.sleep(1)
        for client in list(alive):
            if _is_cut(client):
                alive.remove(client)
                cut.append(time.monotonic() - began)
    return cut


def _is_cut(client: socket.socket) -> bool:
    """Whether the server has answered or closed; sends one more byte if not."""
    try:
        client.recv(4096)
        return True
    except BlockingIOError:
        with suppress(BlockingIOError, ConnectionError):
            client.send(b"a")
        return False
    except ConnectionError:
        return True


def stop_in_flight(server: Running) -> str:
    """Sends SIGTERM while IN_FLIGHT requests run; tells how many are answered and the exit code."""
    statuses: list[int | None] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(server.get("/slow")))
        for _ in range(IN_FLIGHT)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    server.process.terminate()
    for thread in threads:
        thread.join()
    try:
        code: object = server.process.wait(30)
    except subprocess.TimeoutExpired:
        code = "none in 30 s"
    return f"{statuses.count(200)} of {IN_FLIGHT}, exit {code}"


def too_large(server: Running) -> str:
    """Sends 1 MiB in chunks for an operation that takes 64 KiB; tells what the client meets."""
    chunk = b"%x\r\n%b\r\n" % (8192, b"a" * 8192)
    sent = "all sent"
    with server.connect() as client:
        try:
            head = b"POST /limited HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.sendall(head)
            for _ in range(128):
                client.sendall(chunk)
                time.sleep(0.001)
            client.sendall(b"0\r\n\r\n")
        except ConnectionError:
            sent = "cut while sending"
        try:
            answer = client.recv(4096)[9:12].decode() or "no answer"
        except OSError:
            answer = "no answer"
    return f"{answer}, {sent}"


def measure_hostile(candidate: Candidate, core: int, seconds: float) -> None:
    """All but the cost, each on a fresh process."""
    body = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    body += b"Content-Length: 1000\r\n\r\n{"
    steps: dict[str, Callable[[Running], str]] = {
        "slow bodies": lambda server: slow_clients(server, body, seconds),
        "slow headers": lambda server: slow_clients(server, b"GET /me HTTP/1.1\r\nX: a", seconds),
        "SIGTERM": stop_in_flight,
        "too large": too_large,
    }
    for name, step in steps.items():
        with running(candidate, core) as server:
            candidate.notes[name] = step(server)
            report(f"{candidate.name}: {name}: {candidate.notes[name]}")


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def table(found: list[Candidate]) -> str:
    """Returns the results in Markdown, the cheapest candidate first."""
    notes = ["slow bodies", "slow headers", "SIGTERM", "too large"]
    head = ["server", "GET us", "POST us", "p50 ms", "p99 ms", *notes]
    rows = [head, ["---", *["---:"] * 4, *["---"] * 4]]
    measured = [one for one in found if one.p50]
    for one in sorted(measured, key=lambda one: statistics.median(one.cost["GET"])):
        costs = [f"{statistics.median(costs):.0f}" for costs in one.cost.values()]
        times = [f"{statistics.median(values):.1f}" for values in (one.p50, one.p99)]
        rows.append([one.name, *costs, *times, *(one.notes[note] for note in notes)])
    rows += [[one.name, "not installed", *[""] * 7] for one in found if not one.installed]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="candidates whose name contains this")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the cost measurement")
    parser.add_argument("--load-seconds", type=float, default=2.0, help="of load a round")
    parser.add_argument("--seconds", type=float, default=15.0, help="with slow clients")
    parser.add_argument("--body-timeout", type=float, default=10.0, help="of the bridge")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1)
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.client_core})
    found = [one for one in candidates(options.body_timeout) if options.only in one.name]
    present = [one for one in found if one.installed]
    for number in range(options.rounds):
        for candidate in random.sample(present, len(present)):
            report(f"round {number + 1} of {options.rounds}: {candidate.name}")
            measure_cost(candidate, options.server_core, options.load_seconds)
    for candidate in present:
        measure_hostile(candidate, options.server_core, options.seconds)
    print(table(found))


if __name__ == "__main__":
    main()
