"""A load client: connections that send requests and validate each answer."""

import selectors
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.failures import Outcome, WrongAnswer

PATIENCE = 5.0  # seconds that an honest client waits for an answer
STALL = 30.0  # seconds without any answer that end a measurement: a busy disk may take a few
# What judges of answers raise when they read one that has another shape than they expect.
MALFORMED = (ValueError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True)
class Reply:
    """One answer of a server; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __str__(self) -> str:
        return f"status {self.status}: {self.body.decode(errors='replace')}"


class Dialogue(Protocol):
    """What one connection says, again and again."""

    def request(self) -> bytes:
        """Return the next request."""

    def is_right(self, reply: Reply) -> bool:
        """Return whether the answer to the last request is the right one."""


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
class Judged:
    """The same request each time, and who judges the answers."""

    sent: bytes
    judge: Callable[[Reply], bool]

    def request(self) -> bytes:
        return self.sent

    def is_right(self, reply: Reply) -> bool:
        return self.judge(reply)


def http_request(
    method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> bytes:
    """Return a request as it goes over the wire; a body is JSON unless the headers say otherwise."""
    fields = {"Host": "127.0.0.1", "Accept": "application/json"}
    if body:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    fields |= headers or {}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def load(port: int, dialogues: Sequence[Dialogue], seconds: float) -> Outcome:
    """Keep one connection for each dialogue busy; return the latency of every right answer, and the failures.

    After a failure a dialogue goes on over a new connection; if none can be opened it ends.
    """
    with _Load(port, time.perf_counter() + seconds) as running:
        for dialogue in dialogues:
            running.open(dialogue)
        while running.is_busy():
            running.read()
    return running.outcome


class _Load:
    """The connections of one call of `load`; each sends requests until `end`."""

    def __init__(self, port: int, end: float) -> None:
        self._port = port
        self._end = end
        self._selector = selectors.DefaultSelector()
        self.outcome = Outcome()

    def __enter__(self) -> "_Load":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections():
            connection.socket.close()
        self._selector.close()

    def _connections(self) -> "list[Connection]":
        return [key.data for key in self._selector.get_map().values()]

    def is_busy(self) -> bool:
        """Return whether an answer is still to come."""
        return bool(self._selector.get_map())

    def open(self, dialogue: Dialogue) -> None:
        """Open a connection and send its first request."""
        try:
            connection = Connection(self._port, dialogue)
        except OSError as error:
            self.outcome.fail(f"no connection: {error}")
            return
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._send(connection)

    def read(self) -> None:
        """Read what has come; if nothing comes for STALL seconds, every outstanding request has failed."""
        ready = self._selector.select(STALL)
        for key, _ in ready:
            self._read(key.data)
        if not ready:
            waiting = self._connections()
            self.outcome.fail(f"no answer in {STALL:.0f} seconds", len(waiting))
            for connection in waiting:
                self._close(connection)

    def _read(self, connection: "Connection") -> None:
        try:
            latency = connection.receive()
        except (WrongAnswer, OSError) as failure:
            self._replace(connection, failure)
            return
        if latency is None:
            return
        self.outcome.latencies.append(latency)
        if time.perf_counter() < self._end:
            self._send(connection)
        else:
            self._close(connection)

    def _send(self, connection: "Connection") -> None:
        try:
            connection.send()
        except OSError as failure:
            self._replace(connection, failure)

    def _replace(self, connection: "Connection", failure: BaseException) -> None:
        """Record a failure, and go on over a new connection: many servers close the old one."""
        self.outcome.fail(failure)
        self._close(connection)
        if time.perf_counter() < self._end:
            self.open(connection.dialogue)

    def _close(self, connection: "Connection") -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()


class Connection:
    """One keep-alive connection with one request on its way at a time."""

    def __init__(self, port: int, dialogue: Dialogue) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.dialogue = dialogue
        self._received = b""
        self._sent_at = 0.0

    def send(self) -> None:
        """Send the next request."""
        request = self.dialogue.request()
        self._received = b""
        self._sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> float | None:
        """Return the seconds that the answer took, None while it is not whole.

        Raises WrongAnswer if it is not the right one, and OSError if the connection breaks.
        """
        data = self.socket.recv(65_536)
        self._received += data
        reply = self._parsed()
        if reply is None and data:
            return None
        seconds = time.perf_counter() - self._sent_at
        if reply is None:
            raise WrongAnswer(f"the connection was closed after {len(self._received)} bytes of an answer")
        if not self._is_right(reply):
            raise WrongAnswer(str(reply))
        return seconds

    def _parsed(self) -> Reply | None:
        try:
            return parse(self._received)
        except MALFORMED as error:
            raise WrongAnswer(f"not HTTP: {self._received[:100]!r}") from error

    def _is_right(self, reply: Reply) -> bool:
        try:
            return self.dialogue.is_right(reply)
        except MALFORMED:
            return False


def ask(port: int, request: bytes, patience: float = STALL) -> Reply:
    """Return the answer to one request on a new connection; raises OSError."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
        connection.sendall(request)
        received = b""
        try:
            while (reply := parse(received)) is None:
                data = connection.recv(65_536)
                if not data:
                    raise ConnectionError(f"closed after {received[:1000]!r}")
                received += data
        except MALFORMED as error:
            raise ConnectionError(f"not HTTP: {received[:100]!r}") from error
    return reply


def parse(received: bytes) -> Reply | None:
    """Return the answer that was received, None while it is not whole."""
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return None
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        whole = _joined(body)
    else:
        whole = body if len(body) >= int(headers.get("content-length", 0)) else None
    return None if whole is None else Reply(int(status.split()[1]), headers, whole)


def _joined(chunks: bytes) -> bytes | None:
    """Return a body that comes in chunks (RFC 9112 section 7.1), None while it is not whole."""
    body = b""
    while True:
        size, found, rest = chunks.partition(b"\r\n")
        length = int(size, 16) if found else 0
        if not found or len(rest) < length + 2:
            return None
        if length == 0:
            return body
        body, chunks = body + rest[:length], rest[length + 2 :]
