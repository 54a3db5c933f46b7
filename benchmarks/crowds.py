"""Clients that hold connections open and hardly use them, while somebody honest comes and goes."""

import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException

from benchmarks.client import PATIENCE, http_request
from benchmarks.measuring import Server

SLOW = 200  # clients
PAUSE = 0.02  # seconds between two visits of somebody honest


def visits(
    server: Server, path: str, seconds: float, headers: Mapping[str, str] | None = None
) -> list[float]:
    """Get a path again and again, each time on a new connection; return the seconds that each took.

    What is not answered 200 in time counts as PATIENCE.
    """
    found: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        found.append(_visit(server, path, headers))
        time.sleep(PAUSE)
    return found


def _visit(server: Server, path: str, headers: Mapping[str, str] | None) -> float:
    began = time.perf_counter()
    with suppress(OSError, HTTPException):
        if server.call("GET", path, headers=headers).status == 200:
            return time.perf_counter() - began
    return PATIENCE


@contextmanager
def slowly(server: Server, opening: bytes) -> Iterator[list[float]]:
    """Let SLOW clients send `opening` and then a byte a second; who is cut comes back at once.

    Yield a list that grows by the seconds after which each was cut.
    """
    stop = threading.Event()
    with ExitStack() as stack:
        clients = [_Slow(server, opening) for _ in range(SLOW)]
        for client in clients:
            stack.callback(client.close)
        cut: list[float] = []

        def go_on() -> None:
            while not stop.wait(1):
                for client in clients:
                    cut.extend(client.go_on())

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield cut
        finally:
            stop.set()
            thread.join()


class _Slow:
    """Somebody who sends a request and does not come to its end."""

    def __init__(self, server: Server, opening: bytes) -> None:
        self._server = server
        self._opening = opening
        self._begin()

    def _begin(self) -> None:
        self._socket = self._server.connect()
        self._socket.sendall(self._opening)
        self._socket.setblocking(False)
        self._began = time.monotonic()

    def go_on(self) -> list[float]:
        """Send a byte; or begin anew when the server has answered or closed, and return after how long."""
        if not self._is_cut():
            return []
        lasted = time.monotonic() - self._began
        self.close()
        self._begin()
        return [lasted]

    def _is_cut(self) -> bool:
        try:
            self._socket.recv(4096)
            return True
        except BlockingIOError:
            with suppress(BlockingIOError, ConnectionError):
                self._socket.send(b"a")
            return False
        except ConnectionError:
            return True

    def close(self) -> None:
        self._socket.close()


@contextmanager
def idle(server: Server, path: str, count: int) -> Iterator[None]:
    """Hold connections open that got an answer each; at the end each must get another one."""
    _have_descriptors(count + 200)
    request = http_request("GET", path)
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(count)]
        _ask_all(clients, request)
        yield
        _ask_all(clients, request)


def _ask_all(clients: list[socket.socket], request: bytes) -> None:
    for first in range(0, len(clients), 16):  # together, so that nobody is idle for too long
        some = clients[first : first + 16]
        for client in some:
            client.sendall(request)
        for client in some:
            answer = client.recv(65_536)
            if not answer.startswith(b"HTTP/1.1 200 "):
                sys.exit(f"an idle connection got no answer but {answer[:100]!r}")


def _have_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        sys.exit(f"{count} descriptors are needed, and `ulimit -Hn` allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
