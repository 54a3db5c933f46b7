"""Live servers: `tessera serve` as a user would start it, on a free port."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from werkzeug.datastructures import Headers

from tests.support.ports import free_port
from tests.support.waiting import DEADLINE, wait_until

ROOT = Path(__file__).parents[2]
LOOKS = 20
# Lines of a program that send it SIGTERM once Python has shut down so far that it drops what `sys` holds.
STOPPED_AGAIN = """
import os, signal, sys
class Last:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):
        kill(pid, number)
sys.last = Last()
"""
SERVE = (sys.executable, "-m", "api", "serve")


@dataclass
class Answer:
    """An answer as it came over the wire."""

    status: int
    headers: Headers
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def chunked(body: bytes, size: int = 8192) -> bytes:
    """Return a body in chunked coding (RFC 9112 section 7.1)."""
    pieces = (body[i : i + size] for i in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def parse(received: bytes) -> Answer:
    """Return the first answer in what a raw connection received."""
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    return Answer(int(status.split()[1]), Headers([(name, value) for name, value in pairs]), body)


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> Answer:
        """Send one request on a connection of its own; a body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body, sent = json.dumps(body).encode(), {"Content-Type": "application/json"} | sent
        try:
            connection.request(method, path, body, sent, **kwargs)
            response = connection.getresponse()
            return Answer(response.status, Headers(response.getheaders()), response.read())
        finally:
            connection.close()

    def raw(self, sent: bytes) -> bytes:
        """Send bytes as they are, and return all that comes until the server ends the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as connection:
            connection.sendall(sent)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def listens(self) -> bool:
        """Return whether anybody accepts connections on its port."""
        return listens(self.port)

    def children(self) -> list[int]:
        """Return the processes of the server besides the one that was started, none once that has ended."""
        return children(self.process.pid)

    def descriptors(self) -> int:
        """Return how many descriptors its processes have open."""
        pids = [self.process.pid, *self.children()]
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)

    def rests(self) -> bool:
        """Return whether its threads sleep, and none runs while we look many times (proc(5))."""
        before = self._activity()
        sleeping = all(state in "SD" for state, _ in before.values())
        return sleeping and all(self._activity() == before for _ in range(LOOKS))

    def _activity(self) -> dict[str, tuple[str, str]]:
        """Return the state of each thread, and how long and how often it ran."""
        tasks = [
            task
            for pid in [self.process.pid, *self.children()]
            for task in Path(f"/proc/{pid}/task").iterdir()
        ]
        return {str(task): (_state(task), _read(task / "schedstat")) for task in tasks}

    def kill(self) -> None:
        """Kill the server and its processes at once, without a warning."""
        for pid in [self.process.pid, *self.children()]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


def in_shell(line: str) -> tuple[str, ...]:
    """Return the command that serves from within a line of the shell, whose "$@" it is."""
    return ("sh", "-c", line, "sh", *SERVE)


def with_options(**options: Any) -> tuple[str, ...]:
    """Return the command that serves with options that `tessera serve` does not have."""
    of_us = "import os; from api.kit.server import serve"
    port = "int(os.environ['TESSERA_PORT'])"
    return (sys.executable, "-c", f"{of_us}; serve('api.server:make_wsgi_app', port={port}, **{options!r})")


@contextmanager
def serving(
    environ: Mapping[str, str],
    log: Path,
    stderr: int | None = None,
    *,
    command: Sequence[str] = SERVE,
    port: int | None = None,
    until_ready: bool = True,
) -> Iterator[Server]:
    """Start `tessera serve` with these variables and no others, and stop it at the end.

    What it writes goes to `log`, or to the descriptor `stderr`. Another `command` serves at TESSERA_PORT too.
    """
    port = port or free_port()
    environ = {"PATH": os.environ["PATH"], "TESSERA_PORT": str(port), **environ}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environ,
            stdout=output,
            stderr=output if stderr is None else stderr,
        )
        server = Server(process, port, log)
        try:
            if until_ready:
                wait_until(lambda: _is_ready(server), f"the server is ready; its log is {log}")
            yield server
        finally:
            if process.poll() is None:
                server.stop()


def run(
    arguments: Sequence[str], environ: Mapping[str, str], given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a `tessera` command with these variables and no others."""
    return subprocess.run(
        [sys.executable, "-m", "api", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def listens(port: int) -> bool:
    """Return whether anybody accepts connections on a port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE):
            return True
    except ConnectionRefusedError:
        return False


def children(pid: int) -> list[int]:
    """Return the processes that another one has started and that have not ended (proc(5))."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for found in lists for child in _read(found).split()]


def has_ended(pid: int) -> bool:
    """Return whether a process has ended, though nobody may have asked for its exit code yet."""
    return _state(Path(f"/proc/{pid}")) in "ZX"


def _state(entry: Path) -> str:
    """Return the state of a process or thread by its entry in /proc, X if there is none any more."""
    stat = _read(entry / "stat")
    return stat.rpartition(")")[2].split()[0] if stat else "X"


def _read(file: Path) -> str:
    """Return what a file about a process or thread holds, nothing once that has ended (proc(5))."""
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _is_ready(server: Server) -> bool:
    assert server.process.poll() is None, f"the server ended: {server.log.read_text()}"
    try:
        return server.call("GET", "/health/ready").status == 200
    except OSError:
        return False
