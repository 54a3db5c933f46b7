"""A load client: connections that ask, and judge each answer."""

import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

PATIENCE = 5.0  # seconds that an honest client waits for an answer
STALL = 30.0  # seconds without any answer that end a run: a busy disk may take a few


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


def load(port: int, dialogues: Sequence[Dialogue], seconds: float) -> list[float]:
    """Keep one connection for each dialogue busy and return the latency of every answer, in seconds."""
    latencies: list[float] = []
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for dialogue in dialogues:
            connection = Connection(port, dialogue)
            stack.enter_context(connection.socket)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send()
        end = time.perf_counter() + seconds
        while selector.get_map():
            latencies += _answers(selector, end)
    return latencies


def _answers(selector: selectors.BaseSelector, end: float) -> Iterator[float]:
    """Yield the latencies of the answers that have come; until `end` each is followed by a request."""
    ready = selector.select(STALL)
    if not ready:
        sys.exit(f"no answer in {STALL:.0f} seconds")
    for key, _ in ready:
        latency = key.data.receive()
        if latency is None:
            continue
        yield latency
        if time.perf_counter() < end:
            key.data.send()
        else:
            selector.unregister(key.fileobj)


class Connection:
    """One keep-alive connection with one request on its way at a time."""

    def __init__(self, port: int, dialogue: Dialogue) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
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


def ask(port: int, request: bytes, patience: float = STALL) -> Reply:
    """Return the answer to one request on a new connection; raises OSError."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
        connection.sendall(request)
        received = b""
        while (reply := parse(received)) is None:
            data = connection.recv(65_536)
            if not data:
                raise ConnectionError(f"closed after {received[:1000]!r}")
            received += data
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
