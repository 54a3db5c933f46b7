"""Clients that hold connections open and hardly use them, while somebody honest comes and goes."""

import resource
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from benchmarks.client import PATIENCE, ask, http_request
from benchmarks.failures import Failed, Outcome, WrongAnswer
from benchmarks.measuring import Server

SLOW = 200  # clients
PAUSE = 0.02  # seconds between two visits of somebody honest


def visits(server: Server, path: str, seconds: float, headers: Mapping[str, str] | None = None) -> Outcome:
    """Get a path again and again, each time on a new connection.

    A visit has failed if it is not answered 200 within PATIENCE.
    """
    found = Outcome()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        _visit(server, path, headers, found)
        time.sleep(PAUSE)
    return found


def _visit(server: Server, path: str, headers: Mapping[str, str] | None, found: Outcome) -> None:
    began = time.perf_counter()
    try:
        reply = ask(server.port, http_request("GET", path, headers), PATIENCE)
    except OSError as error:
        found.fail(error)
        return
    if reply.status == 200:
        found.latencies.append(time.perf_counter() - began)
    else:
        found.fail(reply)


def with_patience(found: Outcome) -> list[float]:
    """Return the seconds of all visits; one that failed counts as PATIENCE."""
    return found.latencies + [PATIENCE] * found.failed


@contextmanager
def slowly(server: Server, opening: bytes, count: int = SLOW) -> Iterator[list[float]]:
    """Let `count` clients send `opening` and then a byte a second; who is cut comes back at once.

    Yield a list that grows by the seconds after which each was cut.
    """
    stop = threading.Event()
    with ExitStack() as stack:
        clients = [_Slow(server, opening) for _ in range(count)]
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
                raise WrongAnswer(f"an idle connection: {answer[:100]!r}")


def _have_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise Failed(f"{count} descriptors are needed, and `ulimit -Hn` allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
