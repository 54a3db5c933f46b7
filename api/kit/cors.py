"""CORS (the Fetch standard): which pages of other origins may read answers; by default none."""

from dataclasses import dataclass

from flask import Flask, Response, request

from api.kit.config import CORS_ORIGINS
from api.kit.settings import Settings

EXPOSED = (  # what a page may read beyond what the Fetch standard allows by itself
    "Allow, Deprecation, ETag, Link, Location, RateLimit, RateLimit-Policy, Retry-After, Sunset, "
    "WWW-Authenticate, X-Request-Id"
)
_GRANTED = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Accept-Language, Authorization, Content-Type, Idempotency-Key, "
    "If-Match, If-None-Match, X-Request-Id",
    "Access-Control-Max-Age": "7200",  # seconds; Chromium keeps no grant longer
}


@dataclass(frozen=True)
class Cors:
    """The origins whose pages may read answers, as browsers write them.

    The path never counts, so no trick with one gets around it. No answer says that cookies may come
    along, since there are none, and none opens a private network.
    """

    origins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings) -> "Cors":
        return cls(frozenset(settings[CORS_ORIGINS]))

    def headers(self, origin: str | None) -> dict[str, str]:
        """Return what lets a page of this origin read an answer."""
        if origin not in self.origins:
            return {}
        return {"Access-Control-Allow-Origin": str(origin), "Access-Control-Expose-Headers": EXPOSED}


NOBODY = Cors()


def init_cors(app: Flask, settings: Settings) -> None:
    """Let pages of the configured origins read the app's answers, refusals and all."""
    cors = Cors.of(settings)

    def answer_preflight() -> Response | None:
        """Answer what a browser asks before a request, so that it reaches no operation."""
        asks = request.origin is not None and "Access-Control-Request-Method" in request.headers
        if request.method != "OPTIONS" or not asks:
            return None
        granted = _GRANTED if request.origin in cors.origins else {}
        response = Response(status=204, headers=granted)
        del response.headers["Content-Type"]
        return response

    def finish(response: Response) -> Response:
        response.headers.extend(cors.headers(request.origin))
        response.vary.add("Origin")  # for the caches: also where it is of no use
        return response

    if cors.origins:
        app.before_request(answer_preflight)
        app.after_request(finish)
