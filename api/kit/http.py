"""HTTP at its edges: the Flask-RESTful Api, what bodies may be, refusals, headers, request ids."""

import re
import time
from collections.abc import Container, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import flask_restful
import orjson
from flask import Flask, Response, g, request
from flask.json.provider import JSONProvider
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_accept_header
from werkzeug.wsgi import get_input_stream

from api.kit import problems, strict_json
from api.kit.current import wsgi_environ
from api.kit.db import cause, is_unavailable
from api.kit.ids import new_id
from api.kit.languages import languages, wanted_language
from api.kit.logger import get_logger
from api.kit.problems import Problem
from schemas.messages import Phrase

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

BODY_LIMIT = 65536  # bytes
SHORT_ACCEPT = 256  # characters of an Accept header whose meaning is remembered
PROBLEM_JSON = "application/problem+json"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,128}")
_HOST = re.compile(r"([A-Za-z0-9.\-_~%]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_POLICY = "Content-Security-Policy"
_OTHER_HEADERS = [(name, value) for name, value in SECURITY_HEADERS.items() if name != _POLICY]
# Of a request's environ: its id, when it came, and headers of its answer, whoever gives that.
_ID, _CAME_AT, _ANSWER_HEADERS = "tessera.request_id", "tessera.came_at", "tessera.answer_headers"
_BY_STATUS: dict[int, type[Problem]] = {
    kind.status: kind
    for kind in (
        problems.MalformedRequest,
        problems.NotFound,
        problems.MethodNotAllowed,
        problems.NotAcceptable,
        problems.RequestTimeout,
        problems.BodyTooLarge,
        problems.UnsupportedMediaType,
        problems.InternalError,
    )
}

log = get_logger(source="tessera.http")


class SyncFlask(Flask):
    """Flask without coroutines, which it would look for in each hook and view at each request."""

    def ensure_sync(self, func: Any) -> Any:
        return func


class Edge:
    """WSGI around an application: what every answer has, at less cost than by Flask's hooks."""

    def __init__(self, application: "WSGIApplication") -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        environ[_CAME_AT] = time.perf_counter()
        environ[_ID] = choose_request_id(environ.get("HTTP_X_REQUEST_ID", ""))
        added = environ[_ANSWER_HEADERS] = [("X-Request-Id", environ[_ID]), *_OTHER_HEADERS]

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            if all(name != _POLICY for name, _ in headers):  # a page has one of its own
                headers.append((_POLICY, SECURITY_HEADERS[_POLICY]))
            return start_response(status, headers + added, *exc_info)

        return self._application(environ, start)


class OrjsonProvider(JSONProvider):
    """JSON by orjson: UTF-8, compact."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return encoded(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return orjson.loads(s)


class Api(flask_restful.Api):
    """Flask-RESTful without its error handling, which answers 500 and echoes what was sent."""

    def __init__(self, app: Flask) -> None:
        super().__init__(app)
        app.before_request(_refuse_doubled_slash)

    def error_router(self, original_handler: Any, e: Exception) -> Any:
        return original_handler(e)


def encoded(value: Any) -> bytes:
    """Return the JSON of an answer, in UTF-8 and compact; instants end in `Z`, as `Timestamp` has it."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def json_response(value: Any, status: int, headers: Mapping[str, str]) -> Response:
    """Return an answer whole, past Flask-RESTful's choice of a media type: each operation has made it."""
    return Response(encoded(value), status, headers, mimetype="application/json")


def init_http(app: Flask) -> None:
    """Give the app its JSON, its refusals, its headers and its one log line a request."""
    app.json = OrjsonProvider(app)
    app.url_map.merge_slashes = False
    app.wsgi_app = Edge(app.wsgi_app)  # type: ignore[method-assign]  # as Flask's documentation has it
    app.before_request(_refuse_malformed)
    app.after_request(_finish)
    app.register_error_handler(Problem, _refuse)
    app.register_error_handler(HTTPException, lambda e: _refuse(_problem_of(e)))
    for kind in (DBAPIError, PoolTimeout):
        app.register_error_handler(kind, _refuse_without_database)
    app.register_error_handler(Exception, _refuse_unexpected)


def read_json(merge_patch: bool = False) -> Any:
    """Return the document of the request's body.

    Raises UnsupportedMediaType, BodyTooLarge, RequestTimeout or MalformedJson.
    """
    sent_as({"application/json", "application/merge-patch+json"} if merge_patch else {"application/json"})
    return strict_json.loads(_read_body())


def sent_as(media_types: Container[str]) -> str:
    """Return the media type of the body; raises UnsupportedMediaType for any but these, or no UTF-8."""
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype not in media_types or charset not in ("utf-8", "utf8"):
        raise problems.UnsupportedMediaType()
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise problems.UnsupportedMediaType()
    return request.mimetype


def _read_body() -> bytes:
    """Return the whole body; one that is too long is refused, never cut."""
    if (request.content_length or 0) > BODY_LIMIT:
        raise problems.BodyTooLarge()
    stream = get_input_stream(wsgi_environ())
    body = b""
    while chunk := stream.read(BODY_LIMIT + 1 - len(body)):
        body += chunk
        if len(body) > BODY_LIMIT:
            raise problems.BodyTooLarge()
    return body


def refuse_unacceptable(*media_types: str) -> None:
    """Raise NotAcceptable when the Accept header leaves no room for any of the media types."""
    header = wsgi_environ().get("HTTP_ACCEPT")
    if header is None:
        return
    leaves_room = _remembered_room if len(header) <= SHORT_ACCEPT else _leaves_room
    if not leaves_room(header, media_types):
        raise problems.NotAcceptable()


def _leaves_room(header: str, media_types: tuple[str, ...]) -> bool:
    listed = parse_accept_header(header, MIMEAccept)
    accepted = [(text.partition(";")[0].strip(), quality) for text, quality in listed]
    return not accepted or any(_is_acceptable(media_type, accepted) for media_type in media_types)


_remembered_room = lru_cache(maxsize=256)(_leaves_room)


def _is_acceptable(media_type: str, accepted: list[tuple[str, float]]) -> bool:
    for wanted in (media_type, media_type.partition("/")[0] + "/*", "*/*"):  # the most specific one counts
        if qualities := [quality for text, quality in accepted if text.lower() == wanted]:
            return max(qualities) > 0
    return False


def request_id() -> str:
    """Return the id of this request: the caller's own when it is well-formed."""
    found: str = wsgi_environ()[_ID]
    return found


def milliseconds() -> float:
    """Return how long ago this request came."""
    came_at: float = wsgi_environ()[_CAME_AT]
    return round((time.perf_counter() - came_at) * 1000, 3)


def add_headers(*headers: tuple[str, str]) -> None:
    """Let the answer to this request have headers, be it a refusal."""
    wsgi_environ()[_ANSWER_HEADERS].extend(headers)


def choose_request_id(offered: str) -> str:
    """Return the id that the caller offers when it is well-formed, else a new one."""
    return offered if _REQUEST_ID.fullmatch(offered) else str(new_id())


def _refuse_malformed() -> None:
    """Refuse what HTTP servers let through and proxies disagree on (RFC 9112 sections 3.2, 6.1)."""
    sent = wsgi_environ()
    if not _HOST.fullmatch(sent.get("HTTP_HOST", "")):
        detail = Phrase("The request must have exactly one valid Host header.")
        raise problems.MalformedRequest(detail)
    coding = sent.get("HTTP_TRANSFER_ENCODING")
    if coding is not None and (coding.lower() != "chunked" or sent.get("CONTENT_LENGTH")):
        detail = Phrase("The request does not say in one way where its body ends.")
        raise problems.MalformedRequest(detail, headers={"Connection": "close"})


def _refuse_doubled_slash() -> None:
    """Refuse a path that Werkzeug would take for one with a single slash."""
    if wsgi_environ()["PATH_INFO"].startswith("//"):
        raise problems.NotFound()


def _refuse(problem: Problem) -> Response:
    g.problem = problem.code
    language = wanted_language()
    said = problem.as_dict(request_id(), languages().speak(language))
    headers = {"Content-Language": language, "Vary": "Accept-Language", "Cache-Control": "no-store"}
    return Response(orjson.dumps(said), problem.status, headers | problem.headers, content_type=PROBLEM_JSON)


def _problem_of(error: HTTPException) -> Problem:
    """Return the problem for a refusal of Flask's or Werkzeug's, with its headers (such as Allow)."""
    code = error.code or 500
    kind = _BY_STATUS.get(code, problems.MalformedRequest if code < 500 else problems.InternalError)
    headers = {k: v for k, v in error.get_headers() if k not in ("Content-Type", "Content-Length")}
    return kind(headers=headers)


def _refuse_without_database(error: Exception) -> Response:
    if isinstance(error, DBAPIError) and not is_unavailable(error):
        return _refuse_unexpected(error)
    reason = cause(error) if isinstance(error, DBAPIError) else str(error)
    log.error("database_unavailable", request_id=request_id(), cause=reason)
    return _refuse(problems.DatabaseUnavailable())


def _refuse_unexpected(error: Exception) -> Response:
    log.error("internal_error", request_id=request_id(), exc_info=error)
    return _refuse(problems.InternalError())


def _finish(response: Response) -> Response:
    if request.method == "OPTIONS" and response.status_code == 200:
        response.status_code = 204
        del response.headers["Content-Type"]
    return response
