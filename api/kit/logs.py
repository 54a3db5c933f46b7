"""Structured logs: JSON lines on the standard error, never a body and never a secret."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from flask import Flask, Response, g

from api.kit import clock
from api.kit.current import wsgi_environ
from api.kit.db import is_of_database
from api.kit.http import milliseconds, request_id
from api.kit.logger import structlog
from schemas.base import instant_text

# structlog's own default prints the local variables of each frame: passwords, that is.
_TRACEBACK = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def _describe(exc_info: Any) -> list[dict[str, Any]]:
    """Return a traceback as data; what a database says of an error may quote rows, and is left out."""
    stacks = _TRACEBACK(exc_info)
    if any(map(is_of_database, _chain(exc_info[1]))):
        for stack in stacks:
            stack["exc_value"] = "(withheld: it may quote rows)"
    return stacks


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


_PROCESSORS: list[Any] = [
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    structlog.processors.ExceptionRenderer(_describe),
]


def configure_logs() -> None:
    """Write every log line of this process, ours and the libraries', as one JSON object."""
    open_stderr()
    _write_json(cache_logger_on_first_use=True)
    render: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.JSONRenderer(lambda event, **_: _to_json(event).decode()),
    ]
    foreign = [structlog.stdlib.add_logger_name, *_PROCESSORS]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=foreign, processors=render))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def open_stderr() -> None:
    """Give a process that was started without a standard error one that goes nowhere."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # for the life of the process


def init_logs(app: Flask) -> None:
    """Log one line for each request; how lines are written is the process's to configure."""
    if not structlog.is_configured():
        _write_json()
    app.after_request(_log_request)


class _Lines(structlog.BytesLogger):
    """Writes lines; a request does not fail because nobody reads its log any more."""

    def msg(self, message: bytes) -> None:
        with suppress(OSError, ValueError):
            super().msg(message)

    debug = info = warning = error = critical = exception = msg


def _write_json(**options: Any) -> None:
    """Write our own lines without a detour over `logging`, whose records cost more than all else."""
    structlog.configure(
        processors=[*_PROCESSORS, structlog.processors.JSONRenderer(_to_json)],
        logger_factory=lambda *_: _Lines(sys.stderr.buffer),
        **options,
    )


def _log_request(response: Response) -> Response:
    """Write the line of a request, past structlog, whose way costs three times as much."""
    identity = g.get("identity")
    line = {
        "source": "tessera.request",
        "request_id": request_id(),
        "method": wsgi_environ()["REQUEST_METHOD"].upper(),
        "operation": g.get("operation"),
        "status": response.status_code,
        "problem": g.get("problem"),
        "milliseconds": milliseconds(),
        "user_id": None if identity is None else identity.user_id,
        "event": "request",
        "level": "info",
        "time": instant_text(clock.now()),
    }
    _Lines(sys.stderr.buffer).info(_to_json(line))
    return response


def _to_json(event: dict[str, Any], **_: Any) -> bytes:
    return orjson.dumps(event, default=str)
