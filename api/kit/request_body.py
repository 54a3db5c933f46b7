"""Request bodies as they arrive: read on the event loop, with a deadline."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from api.kit.rsgi import Exchange

LINGER_SECONDS = 2.0  # for so long the rest of a refused body is thrown away: its sender sees the answer


class BrokenBodyError(Exception):
    """The body ended before its framing said so: the client left, or sent malformed chunks."""


class BodyReader:
    """Read an RSGI body in pieces on the loop, `timeout` seconds for each call at most.

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
        """Read a body of a known and small length in one go."""
        async with asyncio.timeout(self._timeout):
            try:
                return await self._proto()
            except RuntimeError as error:
                raise BrokenBodyError from error

    async def up_to(self, size: int) -> bytes:
        """Read until more than `size` bytes are there or the body ends, within one timeout."""
        return await self._guarded(self._collect(size))

    async def piece(self) -> bytes:
        """Read the next piece, b"" at the end."""
        return await self._guarded(self._next())

    async def drain(self) -> None:
        """Throw away what still comes, for LINGER_SECONDS at most."""
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
        """Fill `target`, a writable buffer, and returns the number of bytes, 0 at the end."""
        if not self._rest:
            self._rest = memoryview(self._pull())
        size = min(len(target), len(self._rest))
        target[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
