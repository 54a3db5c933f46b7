"""Runs a WSGI application behind RSGI: bodies wait on the event loop, not in threads."""

import asyncio
import io
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import TypeAlias

import orjson
from werkzeug.exceptions import BadRequest, RequestTimeout

from api.kit import problems
from api.kit.cors import NOBODY, Cors
from api.kit.http import PROBLEM_JSON, SECURITY_HEADERS, choose_request_id
from api.kit.languages import OWN, Languages
from api.kit.logger import get_logger
from api.kit.request_body import BodyReader, BrokenBodyError, PulledInput
from api.kit.rsgi import Exchange, HeaderList, Scope
from api.kit.streaming import stream
from api.kit.wsgi_environ import Environ, build_environ, has_body
from schemas.messages import Phrase

QUEUE_PER_THREAD = 4  # requests that may wait for each thread; one more is answered 503
REFUSAL_SECONDS = 0.25  # that a 503 waits, so that who asks again at once leaves the time to others
SETTLE_SECONDS = 0.05  # an answered request keeps its coroutine so long; a wake-up for each costs 13 us

WSGIApp: TypeAlias = Callable[[Environ, "StartResponse"], Iterable[bytes]]
log = get_logger(source="tessera.server")


class StartResponse:
    """The `start_response` of PEP 3333, keeping the last status and headers given (no `write`)."""

    __slots__ = ("headers", "status")

    def __init__(self) -> None:
        self.status = 500
        self.headers: HeaderList = []

    def __call__(self, status: str, headers: HeaderList, exc_info: object = None) -> None:
        self.status = int(status[:3])
        self.headers = headers


class Job:
    """One request on its way through a thread; `done` is settled on the loop afterwards."""

    __slots__ = ("done", "environ", "is_late", "keep_alive", "proto")

    def __init__(
        self, environ: Environ, proto: Exchange, done: "asyncio.Future[None]", keep_alive: bool
    ) -> None:
        self.environ = environ
        self.proto = proto
        self.done = done
        self.keep_alive = keep_alive
        self.is_late = False


class Bridge:
    """An RSGI application that runs a WSGI one in a bounded number of threads.

    A thread is taken only when the body is there. Up to `body_limit` bytes are buffered for that,
    for `body_timeout` seconds; a larger body is handed over as a stream that the application reads
    on, for `body_timeout` seconds a piece. The client has as long to take a piece of an answer in parts.
    A body that is late is answered 408 and one that breaks off 400, without the application; while it is
    streamed, `wsgi.input` raises werkzeug's `RequestTimeout` and `BadRequest` for these.
    """

    def __init__(
        self,
        wsgi_app: WSGIApp,
        threads: int = 16,
        body_limit: int = 65_536,
        body_timeout: float = 30.0,
        cors: Cors = NOBODY,
    ) -> None:
        self._app = wsgi_app
        self._cors = cors
        self._languages = Languages(OWN)
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
        """Start: granian calls this in the worker process, before the first request."""
        self._loop = loop
        for thread in self._threads:
            thread.start()

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """End: granian calls this when every connection has been served."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._settle()

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Serve one request; returns only once it is answered, else granian answers 500."""
        environ = build_environ(scope)
        reader = BodyReader(proto, self._body_timeout)
        try:
            body = await self._body(environ, proto, reader)
        except TimeoutError:
            self._refuse(environ, proto, problems.RequestTimeout())
            return
        except BrokenBodyError:
            self._refuse(environ, proto, problems.MalformedRequest(Phrase("The body broke off.")))
            return
        environ["wsgi.input"] = body
        complete = isinstance(body, io.BytesIO)
        await self._in_thread(environ, proto, complete)
        if not complete:
            await reader.drain()

    async def _body(self, environ: Environ, proto: Exchange, reader: BodyReader) -> io.IOBase:
        """Return `wsgi.input`: a BytesIO of the whole body, or a stream if it is large."""
        if not has_body(environ):
            return io.BytesIO()
        length = environ.get("CONTENT_LENGTH")
        if length is not None and int(length) <= self._body_limit:
            return io.BytesIO(await reader.whole())
        data = await reader.up_to(self._body_limit)
        if reader.ended:
            return io.BytesIO(data)
        return io.BufferedReader(PulledInput(data, partial(self._pull, reader)))

    def _pull(self, reader: BodyReader) -> bytes:
        """Wait in a worker thread for the next piece of a body."""
        try:
            return asyncio.run_coroutine_threadsafe(reader.piece(), self._loop).result()
        except TimeoutError as error:
            raise RequestTimeout from error
        except BrokenBodyError as error:
            raise BadRequest("The body broke off.") from error

    async def _in_thread(self, environ: Environ, proto: Exchange, keep_alive: bool) -> None:
        self._settle()
        if self._running >= self._most:
            self._refuse(environ, proto, problems.Overloaded())
            return
        self._running += 1
        if not self._settling:
            self._settling = True
            self._loop.call_later(SETTLE_SECONDS, self._settle_regularly)
        done = self._loop.create_future()
        self._jobs.put(Job(environ, proto, done, keep_alive))
        await done

    def _settle(self) -> None:
        """End the coroutines of the requests answered since the last time."""
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
        """Answer jobs until a None comes; runs in every thread of the pool."""
        while job := self._jobs.get():
            try:
                self._answer(job)
            except BaseException:
                log.exception("wsgi_application_failed")
                self._refuse(job.environ, job.proto, problems.InternalError())
            finally:
                if not job.is_late:
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
            if second is not None:
                parts = chain((first, second), pieces)
                stream(job.proto, start.status, headers, parts, self._body_timeout)
                return
            send = partial(job.proto.response_bytes, start.status, headers, first)
            if start.status == problems.Overloaded.status:
                job.is_late = True
                self._loop.call_soon_threadsafe(self._answer_late, job, send)
            else:
                send()
        finally:
            if close := getattr(result, "close", None):
                close()

    def _answer_late(self, job: Job, send: Callable[[], None]) -> None:
        """Answer after a while, in which the request takes no place."""
        self._running -= 1
        self._loop.call_later(REFUSAL_SECONDS, self._send_late, job, send)

    def _send_late(self, job: Job, send: Callable[[], None]) -> None:
        try:
            send()
        finally:
            if not job.done.done():
                job.done.set_result(None)

    def _refuse(self, environ: Environ, proto: Exchange, problem: problems.Problem) -> None:
        """Answer without the application, and close the connection."""
        request_id = choose_request_id(environ.get("HTTP_X_REQUEST_ID", ""))
        language = self._languages.choose(environ.get("HTTP_ACCEPT_LANGUAGE", ""))
        body = orjson.dumps(problem.as_dict(request_id, self._languages.speak(language)))
        headers = {
            "Content-Type": PROBLEM_JSON,
            "Content-Length": str(len(body)),
            "Content-Language": language,
            "Cache-Control": "no-store",
            "Vary": "Accept-Language, Origin" if self._cors.origins else "Accept-Language",
            "X-Request-Id": request_id,
            "Connection": "close",
            **SECURITY_HEADERS,
            **problem.headers,
            **self._cors.headers(environ.get("HTTP_ORIGIN")),
        }
        proto.response_bytes(problem.status, [(name.lower(), value) for name, value in headers.items()], body)
        log.info("request", request_id=request_id, status=problem.status, problem=problem.code)
