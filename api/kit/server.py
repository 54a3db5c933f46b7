"""Runs a WSGI application behind granian's RSGI: bodies wait on the event loop, not in threads."""

import asyncio
import importlib
import io
import json
import logging
import queue
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from itertools import chain
from typing import Any, Protocol, TypeAlias, cast

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
from granian.http import HTTP1Settings
from granian.log import LogLevels
from werkzeug.exceptions import BadRequest, RequestTimeout

from api.kit import problems

logger = logging.getLogger("tessera.server")

Environ: TypeAlias = dict[str, Any]
HeaderList: TypeAlias = list[tuple[str, str]]
WSGIApp: TypeAlias = Callable[[Environ, "StartResponse"], Iterable[bytes]]

QUEUE_PER_THREAD = 4
"""Requests that may wait for each thread; one more is answered 503."""

SETTLE_SECONDS = 0.05
"""Longest time an answered request keeps its coroutine; a wake-up per request costs 13 us more."""

LINGER_SECONDS = 2.0
"""How long the rest of a refused body is thrown away, so that its sender sees the answer."""


class RequestHeaders(Protocol):
    """Headers of a request; names in lower case, values that are not visible ASCII left out."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[str]: ...
    def items(self) -> HeaderList: ...


class Scope(Protocol):
    """What RSGI tells of a request before its body (the RSGI specification 1.5)."""

    @property
    def http_version(self) -> str: ...
    @property
    def server(self) -> str: ...
    @property
    def client(self) -> str: ...
    @property
    def scheme(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query_string(self) -> str: ...
    @property
    def authority(self) -> str | None: ...
    @property
    def headers(self) -> RequestHeaders: ...


class Transport(Protocol):
    """The open end of a streamed response."""

    def send_bytes(self, data: bytes) -> Awaitable[None]: ...


class Exchange(Protocol):
    """RSGI's HTTP protocol object: the body in, the response out; any thread may respond."""

    def __call__(self) -> Awaitable[bytes]: ...
    def __aiter__(self) -> AsyncIterator[bytes]: ...
    def response_bytes(self, status: int, headers: HeaderList, body: bytes) -> None: ...
    def response_stream(self, status: int, headers: HeaderList) -> Transport: ...


class BrokenBodyError(Exception):
    """The body ended before its framing said so: the client left, or sent malformed chunks."""


class StartResponse:
    """The `start_response` of PEP 3333, keeping the last status and headers given (no `write`)."""

    __slots__ = ("headers", "status")

    def __init__(self) -> None:
        self.status = 500
        self.headers: HeaderList = []

    def __call__(self, status: str, headers: HeaderList, exc_info: object = None) -> None:
        self.status = int(status[:3])
        self.headers = headers


class BodyReader:
    """Reads an RSGI body in pieces on the loop, `timeout` seconds for each call at most.

    granian's `__anext__` gives b"" once at the end of a whole body and twice after a broken one (or
    after trailers, which are refused with it). A pending `__anext__` must never be met by a second
    one, which would block the loop for good: so after any failure nothing is read any more. Only
    the kind of the failure is kept: the exception itself would close a cycle that keeps the body,
    and with it the connection, open until the garbage collector comes by.
    """

    def __init__(self, proto: Exchange, timeout: float) -> None:
        self._proto = proto
        self._pieces: AsyncIterator[bytes] | None = None
        self._timeout = timeout
        self._failure: type[Exception] | None = None
        self.ended = False

    async def whole(self) -> bytes:
        """Reads a body of a known and small length in one go."""
        async with asyncio.timeout(self._timeout):
            try:
                return await self._proto()
            except RuntimeError as error:
                raise BrokenBodyError from error

    async def up_to(self, size: int) -> bytes:
        """Reads until more than `size` bytes are there or the body ends, within one timeout."""
        return await self._guarded(self._collect(size))

    async def piece(self) -> bytes:
        """Reads the next piece, b"" at the end."""
        return await self._guarded(self._next())

    async def drain(self) -> None:
        """Throws away what still comes, for LINGER_SECONDS at most."""
        self._timeout = LINGER_SECONDS
        with suppress(TimeoutError, BrokenBodyError):
            await self._guarded(self._discard())

    async def _guarded(self, reading: Awaitable[bytes]) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                return await reading
        except (TimeoutError, BrokenBodyError) as error:
            self._failure = type(error)
            raise

    async def _collect(self, size: int) -> bytes:
        data = bytearray()
        while len(data) <= size and (piece := await self._next()):
            data += piece
        return bytes(data)

    async def _discard(self) -> bytes:
        while await self._next():
            pass
        return b""

    async def _next(self) -> bytes:
        if self._failure:
            raise self._failure()
        if self.ended:
            return b""
        self._pieces = self._pieces or aiter(self._proto)
        piece = await anext(self._pieces)
        if not piece:
            await self._confirm_end(self._pieces)
        return piece

    async def _confirm_end(self, pieces: AsyncIterator[bytes]) -> None:
        try:
            await anext(pieces)
        except StopAsyncIteration:
            self.ended = True
        else:
            raise BrokenBodyError


class PulledInput(io.RawIOBase):
    """A raw stream for a worker thread: first the bytes given, then `pull()` until b""."""

    def __init__(self, first: bytes, pull: Callable[[], bytes]) -> None:
        self._rest = memoryview(first)
        self._pull = pull

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        """Fills `target`, a writable buffer, and returns the number of bytes, 0 at the end."""
        if not self._rest:
            self._rest = memoryview(self._pull())
        size = min(len(target), len(self._rest))
        target[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


class Job:
    """One request on its way through a thread; `done` is settled on the loop afterwards."""

    __slots__ = ("done", "environ", "keep_alive", "proto")

    def __init__(
        self, environ: Environ, proto: Exchange, done: "asyncio.Future[None]", keep_alive: bool
    ) -> None:
        self.environ = environ
        self.proto = proto
        self.done = done
        self.keep_alive = keep_alive


class Bridge:
    """An RSGI application that runs a WSGI one in a bounded number of threads.

    A thread is taken only when the body is there. Up to `body_limit` bytes are buffered for that,
    for `body_timeout` seconds; a larger body is handed over as a stream that the application reads
    on, for `body_timeout` seconds a piece. A body that is late is answered 408 and one that breaks
    off 400, without the application; while it is streamed, `wsgi.input` raises werkzeug's
    `RequestTimeout` and `BadRequest` for these.
    """

    def __init__(
        self,
        wsgi_app: WSGIApp,
        threads: int = 16,
        body_limit: int = 65_536,
        body_timeout: float = 30.0,
    ) -> None:
        self._app = wsgi_app
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        self._most = threads * (1 + QUEUE_PER_THREAD)
        self._body_limit = body_limit
        self._body_timeout = body_timeout
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._answered: deque[asyncio.Future[None]] = deque()
        self._running = 0
        self._settling = False
        self._loop: asyncio.AbstractEventLoop

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called by granian in the worker process, before the first request."""
        self._loop = loop
        for thread in self._threads:
            thread.start()

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called by granian when every connection has been served."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._settle()

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Serves one request; returns only once it is answered, else granian answers 500."""
        environ = build_environ(scope)
        reader = BodyReader(proto, self._body_timeout)
        try:
            body = await self._body(environ, proto, reader)
        except TimeoutError:
            return _refuse(proto, problems.RequestTimeout())
        except BrokenBodyError:
            return _refuse(proto, problems.MalformedRequest("The body broke off."))
        environ["wsgi.input"] = body
        complete = isinstance(body, io.BytesIO)
        await self._in_thread(environ, proto, complete)
        if not complete:
            await reader.drain()

    async def _body(self, environ: Environ, proto: Exchange, reader: BodyReader) -> io.IOBase:
        """Returns `wsgi.input`: a BytesIO of the whole body, or a stream if it is large."""
        if not _has_body(environ):
            return io.BytesIO()
        length = environ.get("CONTENT_LENGTH")
        if length is not None and int(length) <= self._body_limit:
            return io.BytesIO(await reader.whole())
        data = await reader.up_to(self._body_limit)
        if reader.ended:
            return io.BytesIO(data)
        return io.BufferedReader(PulledInput(data, partial(self._pull, reader)))

    def _pull(self, reader: BodyReader) -> bytes:
        """Waits in a worker thread for the next piece of a body."""
        try:
            return asyncio.run_coroutine_threadsafe(reader.piece(), self._loop).result()
        except TimeoutError as error:
            raise RequestTimeout from error
        except BrokenBodyError as error:
            raise BadRequest("The body broke off.") from error

    async def _in_thread(self, environ: Environ, proto: Exchange, keep_alive: bool) -> None:
        self._settle()
        if self._running >= self._most:
            return _refuse(proto, problems.Overloaded())
        self._running += 1
        if not self._settling:
            self._settling = True
            self._loop.call_later(SETTLE_SECONDS, self._settle_regularly)
        done = self._loop.create_future()
        self._jobs.put(Job(environ, proto, done, keep_alive))
        await done

    def _settle(self) -> None:
        """Ends the coroutines of the requests answered since the last time."""
        while self._answered:
            done = self._answered.popleft()
            self._running -= 1
            if not done.done():
                done.set_result(None)

    def _settle_regularly(self) -> None:
        self._settle()
        self._settling = self._running > 0
        if self._settling:
            self._loop.call_later(SETTLE_SECONDS, self._settle_regularly)

    def _work(self) -> None:
        """Answers jobs until a None comes; runs in every thread of the pool."""
        while job := self._jobs.get():
            try:
                self._answer(job)
            except BaseException:
                logger.exception("the WSGI application failed")
                job.proto.response_bytes(500, [], b"")
            finally:
                self._answered.append(job.done)
            del job

    def _answer(self, job: Job) -> None:
        start = StartResponse()
        result = self._app(job.environ, start)
        try:
            pieces = iter(result)
            first = next(pieces, b"")
            second = next(pieces, None)
            headers = start.headers if job.keep_alive else [*start.headers, ("connection", "close")]
            if second is None:
                job.proto.response_bytes(start.status, headers, first)
            else:
                transport = job.proto.response_stream(start.status, headers)
                self._stream(transport, chain((first, second), pieces))
        finally:
            if close := getattr(result, "close", None):
                close()

    def _stream(self, transport: Transport, parts: Iterable[bytes]) -> None:
        """Sends the parts one by one, and stops without a sound when the client has left.

        granian takes parts faster than a slow client does, and ends the response properly even if
        a part fails: only a Content-Length or the content can tell that something is missing.
        """
        for part in parts:
            try:
                asyncio.run_coroutine_threadsafe(_send(transport, part), self._loop).result()
            except RuntimeError:
                return


async def _send(transport: Transport, part: bytes) -> None:
    await transport.send_bytes(part)


def build_environ(scope: Scope) -> Environ:
    """Returns the environ of PEP 3333 without `wsgi.input`.

    Repeated headers are joined with ",", names with an underscore dropped. The authority of the
    target (absolute form, HTTP/2) counts as one more Host unless it says the same. A header whose
    value granian does not hand out, not being visible ASCII, is there with an empty value.
    """
    headers = scope.headers
    environ: Environ = {
        **_CONSTANT,
        "REQUEST_METHOD": scope.method,
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_PROTOCOL": _PROTOCOLS[scope.http_version],
        "REMOTE_ADDR": _split_address(scope.client)[0],
        "wsgi.url_scheme": scope.scheme,
    }
    environ["SERVER_NAME"], environ["SERVER_PORT"] = _split_server(scope.server)
    size = len(environ)
    for name, value in headers.items():
        _add_header(environ, environ_key(name), value)
    if len(environ) - size != len(headers):
        for name in headers:
            environ.setdefault(environ_key(name), "")
        environ.pop("", None)
    authority = scope.authority
    if authority and environ.get("HTTP_HOST") != authority:
        _add_header(environ, "HTTP_HOST", authority)
    return environ


def _add_header(environ: Environ, key: str, value: str) -> None:
    environ[key] = f"{environ[key]},{value}" if key in environ else value


@lru_cache(maxsize=1024)
def environ_key(name: str) -> str:
    """Returns the environ key of a header's lower-case name, "" for one that must be dropped."""
    if "_" in name:
        return ""
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


def _split_address(address: str) -> tuple[str, str]:
    """Splits "127.0.0.1:80" or "[::1]:80" into host and port."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port


_split_server = lru_cache(maxsize=64)(_split_address)

_PROTOCOLS = {"1": "HTTP/1.0", "1.1": "HTTP/1.1", "2": "HTTP/2"}

_CONSTANT: Environ = {
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}


def _has_body(environ: Environ) -> bool:
    """Whether the framing announces a body; in HTTP/2 one may come without a word."""
    framed = "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ
    return framed or environ["SERVER_PROTOCOL"] == "HTTP/2"


def _refuse(proto: Exchange, problem: problems.Problem) -> None:
    """Answers without the application and closes the connection."""
    body = json.dumps(problem.as_dict(None)).encode()
    headers = {
        "content-type": "application/problem+json",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "connection": "close",
        **problem.headers,
    }
    proto.response_bytes(problem.status, list(headers.items()), body)


def load(target: str, threads: int, body_limit: int, body_timeout: float) -> Bridge:
    """Imports `target` ("package.module:factory"), calls it and bridges what it returns."""
    module, _, name = target.partition(":")
    factory = cast("Callable[[], WSGIApp]", getattr(importlib.import_module(module), name))
    return Bridge(factory(), threads, body_limit, body_timeout)


def serve(
    target: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    threads: int = 16,
    body_limit: int = 65_536,
    body_timeout: float = 30.0,
    header_timeout: float = 5.0,
    header_limit: int = 16_384,
    stop_timeout: int = 25,
) -> None:
    """Serves HTTP/1.1 until SIGTERM or SIGINT, then lets what is in flight finish and returns.

    `target` names a factory of the WSGI application, "package.module:factory"; each of the
    `workers` processes calls it once and runs it in `threads` threads. Limits are in bytes,
    timeouts in seconds; after `stop_timeout` a worker that still has requests is killed.
    """
    server = Granian(
        target,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        workers=workers,
        runtime_threads=1,
        runtime_mode=RuntimeModes.st,
        loop=Loops.asyncio,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(header_timeout * 1000), max_buffer_size=header_limit
        ),
        websockets=False,
        log_level=LogLevels.warning,
        log_access=False,
        respawn_failed_workers=True,
        workers_kill_timeout=stop_timeout,
    )
    loader: Callable[..., Any] = partial(
        load, target, threads=threads, body_limit=body_limit, body_timeout=body_timeout
    )
    server.serve(target_loader=loader, wrap_loader=False)
