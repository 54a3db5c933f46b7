"""Many clients at once: idle ones, slow ones, and some that work until the server is gone."""

import http.client
import json
import math
import resource
import select
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import uuid4

import pytest
from werkzeug.datastructures import Headers

from tests.support.servers import Answer, Server
from tests.support.waiting import DEADLINE


@contextmanager
def crowd(server: Server, count: int) -> Iterator[list[socket.socket]]:
    """Yield so many connections; skip the test where this process may not have them."""
    with _descriptors(count + 200), ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        yield [stack.enter_context(socket.create_connection(address, DEADLINE)) for _ in range(count)]


@contextmanager
def _descriptors(count: int) -> Iterator[None]:
    """Let this process have so many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"a process may have {hard} descriptors here, and {count} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ask(connection: socket.socket, method: str = "GET", path: str = "/health/live", body: Any = None) -> int:
    """Return the status of the answer to a request, once that answer is whole."""
    send(connection, method, path, body)
    return receive(connection).status


def send(
    connection: socket.socket, method: str = "GET", path: str = "/health/live", body: Any = None
) -> None:
    """Send a request."""
    sent = b"" if body is None else json.dumps(body).encode()
    framing = f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n" if sent else ""
    connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n".encode() + sent)


def receive(connection: socket.socket) -> Answer:
    """Return the next answer on a connection, once it is whole."""
    with closing(http.client.HTTPResponse(connection)) as response:
        response.begin()
        return Answer(response.status, Headers(response.getheaders()), response.read())


def dribble(connections: Iterable[socket.socket]) -> list[socket.socket]:
    """Send a byte on each connection that was neither answered nor closed, and return those."""
    return [connection for connection in connections if _takes_a_byte(connection)]


def _takes_a_byte(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if poll.poll(0):
        return False
    with suppress(ConnectionError):
        connection.sendall(b"a")
        return True
    return False


def is_closed(connection: socket.socket) -> bool:
    """Tell whether nothing more comes on a connection."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


@dataclass
class Fate:
    """What became of a request: when all of it was sent, and its answer, or that this broke off."""

    id: str
    sent_at: float = math.inf
    answer: Answer | None = None
    broke_off: bool = False


Wanted: TypeAlias = tuple[str, str, Any, Mapping[str, str]]  # method, path, body, headers


def until_gone(server: Server, wanted: Iterable[Wanted]) -> list[Fate]:
    """Send one request after the other, on a connection that is kept alive, until nobody listens any more."""
    fates: list[Fate] = []
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)) as client:
        for one in wanted:
            fate = Fate(uuid4().hex)
            try:
                _meet(client, one, fate)
            except ConnectionRefusedError:
                break
            except (OSError, http.client.HTTPException):
                client.close()  # the next one is on a new connection
            fates.append(fate)
    return fates


def _meet(client: http.client.HTTPConnection, wanted: Wanted, fate: Fate) -> None:
    method, path, body, headers = wanted
    sent = None if body is None else json.dumps(body)
    fields = {"Content-Type": "application/json", "X-Request-Id": fate.id, **headers}
    client.request(method, path, sent, fields)
    fate.sent_at = time.monotonic()
    response = client.getresponse()
    fate.broke_off = True
    fate.answer = Answer(response.status, Headers(response.getheaders()), response.read())
    fate.broke_off = False
