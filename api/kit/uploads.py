"""Bodies of any size: read piece by piece while they arrive, and never kept as a whole."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flask import request
from werkzeug.wsgi import get_input_stream

from api.kit import problems
from api.kit.current import wsgi_environ
from api.kit.http import sent_as
from api.kit.settings import Setting, Settings

PIECE = 65536  # bytes


@dataclass(frozen=True)
class Stream:
    """The body of an operation whose method reads it: `examples` by media type, and its limit in bytes."""

    examples: Mapping[str, str]
    limit: Setting[int]

    def open(self, settings: Settings) -> "Upload":
        """Return the body of the current request.

        Raises UnsupportedMediaType, or BodyTooLarge for one that says how long it is.
        """
        media_type, limit = sent_as(self.examples), settings[self.limit]
        if (request.content_length or 0) > limit:
            raise problems.BodyTooLarge()
        return Upload(media_type, _pieces(limit))


@dataclass(frozen=True)
class Upload:
    """A body that arrives; its pieces can be had once."""

    media_type: str
    pieces: Iterator[bytes]


def _pieces(limit: int) -> Iterator[bytes]:
    """Yield the body; raises BodyTooLarge, RequestTimeout, or BadRequest for one that breaks off."""
    stream = get_input_stream(wsgi_environ())
    size = 0
    while piece := stream.read(PIECE):
        size += len(piece)
        if size > limit:
            raise problems.BodyTooLarge()
        yield piece
