"""Answers in parts, no faster than their readers take them."""

import errno
import os
import select
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from api.kit import clock
from api.kit.rsgi import Exchange, HeaderList

OPENING_SECONDS = 5.0  # that granian may take to begin to read
_POLL_SECONDS = 0.001


def stream(
    exchange: Exchange, status: int, headers: HeaderList, parts: Iterable[bytes], patience: float
) -> None:
    """Answer in parts; who takes nothing for `patience` seconds, or has left, gets no more of them.

    What granian is given to stream it keeps until the client has taken it, however much that is. Of a file it
    reads a piece when the one before is gone: so it gets a pipe with a name. It ends the answer properly
    even if a part fails: only a Content-Length or the content can tell that something is missing.
    """
    with TemporaryDirectory(prefix="tessera-") as folder:
        path = Path(folder, "answer")
        os.mkfifo(path, 0o600)
        exchange.response_file(status, headers, str(path))
        pipe = _opened(path)
    if pipe is None:
        return
    try:
        for part in parts:
            if not _is_taken(pipe, part, patience):
                return
    finally:
        os.close(pipe)


def _opened(path: Path) -> int | None:
    """Return the end of the pipe to write to once granian reads the other, or None if the client has left."""
    deadline = clock.monotonic() + OPENING_SECONDS
    while clock.monotonic() < deadline:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody reads it yet
                raise
        time.sleep(_POLL_SECONDS)
    return None


def _is_taken(pipe: int, part: bytes, patience: float) -> bool:
    """Write a part, and tell whether it went in."""
    waiting = select.poll()
    waiting.register(pipe, select.POLLOUT)
    rest = memoryview(part)
    while rest:
        if not waiting.poll(patience * 1000):
            return False
        try:
            rest = rest[os.write(pipe, rest) :]
        except BrokenPipeError:
            return False
    return True
