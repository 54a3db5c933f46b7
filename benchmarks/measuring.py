"""What the benchmarks share: pinned servers and their CPU time, a load client, tables."""

import http.client
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 5.0  # seconds that an honest client waits for an answer
START_SECONDS = 20
WARM_UP = 0.5  # seconds of load before each measurement


@dataclass(frozen=True)
class Reply:
    """One answer of a server; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Dialogue(Protocol):
    """What one connection says, again and again."""

    def request(self) -> bytes:
        """Return the next request."""

    def is_right(self, reply: Reply) -> bool:
        """Tell whether the answer to the last request is the right one."""


@dataclass(frozen=True)
class Repeat:
    """The same request each time; the status must be `status`, and the body `body` unless that is None."""

    sent: bytes
    status: int = 200
    body: bytes | None = None

    def request(self) -> bytes:
        return self.sent

    def is_right(self, reply: Reply) -> bool:
        return reply.status == self.status and self.body in (None, reply.body.strip())


@dataclass(frozen=True)
class Server:
    """A server in processes of its own, answering on `port`."""

    process: subprocess.Popen[bytes]
    port: int

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = PATIENCE,
    ) -> Reply:
        """Return the answer to one request on a new connection; raises OSError or HTTPException."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            client.request(method, path, body, dict(headers or {}))
            answer = client.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())
        finally:
            client.close()

    def get(self, path: str) -> int | None:
        """Return the status of a GET on a new connection, None without an answer in time."""
        try:
            return self.call("GET", path).status
        except (OSError, http.client.HTTPException):
            return None

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def cpu(self) -> float:
        """Return the microseconds that all its processes have used, ended children included."""
        return sum(cpu_of(pid) for pid in family(self.process.pid))


@dataclass(frozen=True)
class Sample:
    """What one measurement found.

    `microseconds` is the servers' CPU time a request, `latencies` are in seconds, and `answers`
    counts those of the warming-up as well.
    """

    microseconds: float
    latencies: Sequence[float]
    answers: int

    def percentile(self, part: float) -> float:
        """Return a percentile of the latencies, in milliseconds."""
        return percentile(self.latencies, part) * 1000


def cpu_of(pid: int) -> float:
    """Return utime, stime, cutime and cstime of a process (proc(5)), in microseconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") * 1e6


def family(pid: int) -> list[int]:
    """Return the ids of a process and of all that descend from it."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


def two_cores() -> tuple[int, int]:
    """Return a core for the servers and one for the clients; the same one where there is no other.

    Ends the run where there is no /proc to read CPU times from, and no way to pin a process.
    """
    if not Path("/proc/self/stat").exists() or not hasattr(os, "sched_getaffinity"):
        sys.exit("The benchmarks need Linux: they read /proc and pin processes on cores.")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        report("Only one core: servers and clients share it, so the latencies say little.")
    return cores[0], cores[-1]


@contextmanager
def running(
    command: Sequence[str], environ: Mapping[str, str], core: int, *, ready: str, python: str = sys.executable
) -> Iterator[Server]:
    """Run a Python program pinned on a core until GET `ready` is answered 200, and end it afterwards.

    "{port}" in the command and the environment becomes a free port. Its output goes to a file,
    as in production; the end of it is shown when the program does not start.
    """
    port = free_port()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [python, *(part.replace("{port}", str(port)) for part in command)],
            env={name: value.replace("{port}", str(port)) for name, value in environ.items()},
            cwd=ROOT,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        server = Server(process, port)
        try:
            if not _becomes_ready(server, ready):
                log.seek(0)
                sys.exit(f"{command} does not answer:\n{log.read().decode()[-2000:]}")
            yield server
        finally:
            _end(process)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _becomes_ready(server: Server, path: str) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while server.get(path) != 200:
        if server.process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its descendants, by their ids."""
    descendants = family(process.pid)
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        for pid in descendants:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(PATIENCE)


class Connection:
    """One keep-alive connection with one request on its way at a time."""

    def __init__(self, server: Server, dialogue: Dialogue) -> None:
        self.socket = server.connect()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._dialogue = dialogue
        self._received = b""
        self._sent_at = 0.0

    def send(self) -> None:
        """Send the next request."""
        request = self._dialogue.request()
        self._received = b""
        self._sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> float | None:
        """Return the seconds that the answer took once it is whole; a wrong one ends the run."""
        data = self.socket.recv(65_536)
        self._received += data
        reply = parse(self._received)
        if reply is None and data:
            return None
        seconds = time.perf_counter() - self._sent_at
        if reply is None or not self._dialogue.is_right(reply):
            sys.exit(f"wrong answer: {self._received[:1000]!r}")
        return seconds


def parse(received: bytes) -> Reply | None:
    """Return the answer that was received, None while it is not whole."""
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return None
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if len(body) < int(headers.get("content-length", 0)):
        return None
    return Reply(int(status.split()[1]), headers, body)


def load(server: Server, dialogues: Sequence[Dialogue], seconds: float) -> list[float]:
    """Keep one connection for each dialogue busy and return the latency of every answer, in seconds."""
    latencies: list[float] = []
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for dialogue in dialogues:
            connection = Connection(server, dialogue)
            stack.enter_context(connection.socket)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send()
        end = time.perf_counter() + seconds
        while selector.get_map():
            latencies += _answers(selector, end)
    return latencies


def _answers(selector: selectors.BaseSelector, end: float) -> Iterator[float]:
    """Yield the latencies of the answers that have come; until `end` each is followed by a request."""
    ready = selector.select(PATIENCE)
    if not ready:
        sys.exit(f"no answer in {PATIENCE:.0f} seconds")
    for key, _ in ready:
        latency = key.data.receive()
        if latency is None:
            continue
        yield latency
        if time.perf_counter() < end:
            key.data.send()
        else:
            selector.unregister(key.fileobj)


def measure(server: Server, dialogues: Sequence[Dialogue], seconds: float) -> Sample:
    """Return what a request costs under load, after a warming-up."""
    warming_up = load(server, dialogues, WARM_UP)
    before = server.cpu()
    latencies = load(server, dialogues, seconds)
    time.sleep(0.1)  # what the server does after its last answer counts as well
    cost = (server.cpu() - before) / len(latencies)
    return Sample(cost, latencies, len(warming_up) + len(latencies))


def http_request(
    method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> bytes:
    """Return a request as it goes over the wire; a body is JSON unless the headers say otherwise."""
    fields = {"Host": "a", "Accept": "application/json"}
    if body:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    fields |= headers or {}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value that the given part of all values is below."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def markdown(align: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; `align` has an `l` or an `r` for each column."""
    rule = ["---:" if side == "r" else "---" for side in align]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def report(line: str) -> None:
    """Tell the person who waits how far the run has come."""
    print(line, file=sys.stderr, flush=True)
