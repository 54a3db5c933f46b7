"""@operation: what an endpoint takes, gives, needs and refuses: run and documented alike."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from typing import Any, Protocol, TypeVar

from flask import Response, after_this_request, g, request
from flask_restful import Resource
from marshmallow import Schema

from api.kit import idempotency, work
from api.kit.conditional import none_match, read_if_match
from api.kit.config import FRESH_SIGN_IN, REQUEST_LIMIT
from api.kit.current import extensions
from api.kit.deprecation import Deprecation
from api.kit.http import json_response, read_json, refuse_unacceptable
from api.kit.identity import Access, AccessRule, Identity, Needs, OwnerOr, bearer_credential, require_fresh
from api.kit.limits import Policy, count_request
from api.kit.problems import (
    AuthenticationRequired,
    BodyTooLarge,
    DatabaseUnavailable,
    InvalidToken,
    MalformedJson,
    MalformedRequest,
    NotAcceptable,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    Problem,
    ReauthenticationRequired,
    RequestInProgress,
    RequestTimeout,
    TooManyRequests,
    UnsupportedMediaType,
    ValidationFailed,
)
from api.kit.settings import Limit, Setting, Settings
from api.kit.uploads import Stream
from api.kit.validation import load_body, load_parameters, single_values
from schemas.base import NoParameters

AnswerRule = tuple[int, Schema | None] | Callable[[Settings], tuple[int, Schema | None]]
ProblemsRule = tuple[type[Problem], ...] | Callable[[Settings], tuple[type[Problem], ...]]
BodyRule = Schema | Stream | Callable[[Settings], Schema]
Method = TypeVar("Method", bound=Callable[..., Any])


class Host(Protocol):
    """What operations need of the service that they run in."""

    settings: Settings
    operations: "dict[str, Operation]"

    def keys(self, purpose: str) -> list[bytes]: ...

    def identify(self, credential: str) -> Identity: ...


def host() -> Host:
    found: Host = extensions()["tessera"]
    return found


@dataclass(frozen=True)
class Answer:
    """What a resource method returns when it sets headers, or chooses the media type of a text."""

    value: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path.

    `status` and `answer` are the success; without a schema it has no body, or the text that the
    method returns when there is a `media_type`. `texts` are media types that the method chooses from by
    `Answer`, each with an example, for a text or its pieces. `etag` gives the entity tag of what the method
    returns; what changes the resource that its path names then takes `precondition` as well. `names` and
    `follows` are what `links_from` draws the contract's links by.
    """

    id: str
    function: Callable[..., Any]
    access: Access
    status: int
    answer: Schema | None
    media_type: str | None
    texts: Mapping[str, str]
    path: Schema
    query: Schema
    body: Schema | Stream | None
    merge_patch: bool
    problems: tuple[type[Problem], ...]
    etag: Callable[[Any], str] | None
    fresh: bool
    repeatable: bool
    database: bool
    max_age: int | None
    headers: Mapping[str, str]
    names: Mapping[str, str]
    follows: Mapping[str, Mapping[str, str]]
    policy: Policy | None
    deprecated: Deprecation | None
    safe: bool

    @property
    def takes_precondition(self) -> bool:
        """Whether it changes something that there is: its path names it, and it has an entity tag."""
        return self.etag is not None and not self.safe and bool(self.path.fields)

    def run(self, resource: Any, path: Mapping[str, str]) -> Response:
        """Answer the current request: the whole way from its headers to its status."""
        g.operation = self.id
        if self.deprecated is not None:
            after_this_request(self.deprecated.tell)
        if self.policy is not None:
            count_request(self.policy)
        refuse_unacceptable(*self.texts or [self.media_type or "application/json"])
        key = idempotency.read_key(request.headers.get(idempotency.HEADER)) if self.repeatable else None
        if key is not None:
            return self._run_once(resource, path, key)
        with self._unit():
            return self._respond(self.function(resource, **self._arguments(path)))

    def _run_once(self, resource: Any, path: Mapping[str, str], key: str) -> Response:
        """Answer a request as its first try was answered, or else be the first try."""
        with idempotency.Try(host().keys("idempotency"), key) as attempt, self._unit():
            arguments = self._arguments(path)
            by = None if self.access.public else g.identity.user_id
            answer = attempt.first_answer(self.id, by, arguments)
            if answer is not None:
                return answer
            return attempt.keep(self._respond(self.function(resource, **arguments)))

    def _arguments(self, path: Mapping[str, str]) -> dict[str, Any]:
        """Return what the schemas load from the request, once its caller is admitted."""
        arguments = self._admit(path)
        if self.query.fields or request.query_string:
            arguments |= load_parameters(self.query, single_values(request.args))
        if isinstance(self.body, Stream):
            arguments["upload"] = self.body.open(host().settings)
        elif self.body is not None:
            arguments |= load_body(self.body, read_json(self.merge_patch))
        if self.takes_precondition:
            arguments["precondition"] = read_if_match(request.headers.get("If-Match"))
        return arguments

    def _unit(self) -> AbstractContextManager[None]:
        return work.reading() if self.safe else work.writing()

    def _admit(self, path: Mapping[str, str]) -> dict[str, Any]:
        """Return the path's parameters, once it is known who calls and that they may."""
        if self.access.public:
            return self._load_path(path)
        with work.reading():
            identity = g.identity = host().identify(bearer_credential())
        loaded = self._load_path(path)
        arguments = {name: identity.user_id if v == "me" else v for name, v in loaded.items()}
        self.access.permit(identity, arguments)
        if self.fresh:
            require_fresh(identity, host().settings[FRESH_SIGN_IN])
        return arguments

    def _load_path(self, path: Mapping[str, str]) -> dict[str, Any]:
        return dict(_loaded_path(self.path, tuple(path.items()))) if path else {}

    def _respond(self, result: Any) -> Response:
        """Return the response; dumping is still part of the unit of work."""
        answer = result if isinstance(result, Answer) else Answer(result)
        value, headers = answer.value, dict(answer.headers)
        headers["Cache-Control"] = f"public, max-age={self.max_age}" if self.max_age else "no-store"
        if self.etag and value is not None:
            tag = self.etag(value)
            headers["ETag"] = f'"{tag}"'
            if self.safe and not none_match(request.headers.get("If-None-Match"), tag):
                return Response(status=304, headers=headers)
        if self.answer is None:
            return Response(value, self.status, headers, mimetype=answer.media_type or self.media_type)
        return json_response(self.answer.dump(value), self.status, headers)

    def refusals(self) -> dict[str, type[Problem]]:
        """Return every problem that this operation can answer, by code."""
        body = (RequestTimeout, BodyTooLarge, UnsupportedMediaType)
        where: tuple[tuple[bool, tuple[type[Problem], ...]], ...] = (
            (True, (MalformedRequest, NotAcceptable, ValidationFailed, *self.problems)),
            (not self.access.public, (AuthenticationRequired, InvalidToken)),
            (isinstance(self.access, Needs), (PermissionDenied,)),
            (isinstance(self.access, OwnerOr), (NotFound,)),
            (self.fresh, (ReauthenticationRequired,)),
            (self.body is not None, body),
            (isinstance(self.body, Schema), (MalformedJson,)),
            (self.takes_precondition, (PreconditionFailed,)),
            (self.database, (DatabaseUnavailable,)),
            (self.policy is not None, (TooManyRequests,)),
            (self.repeatable, (RequestInProgress,)),
        )
        return {kind.code: kind for applies, kinds in where if applies for kind in kinds}


@lru_cache(maxsize=1024)
def _loaded_path(schema: Schema, path: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    return load_parameters(schema, dict(path))


@dataclass(frozen=True)
class Route:
    """Where an operation is: the feature that has it, its Flask rule and HTTP method."""

    feature: str
    path: str
    method: str
    operation: Operation


def routes_of(feature: str, path: str, resource: type[Resource], settings: Settings) -> Iterator[Route]:
    """Yield a route for each method of a resource; raises TypeError for one that is no operation."""
    for method in sorted(resource.methods or ()):
        bind = getattr(getattr(resource, method.lower()), "bind", None)
        if bind is None:
            raise TypeError(f"{resource.__name__}.{method.lower()} is no @operation: who may call it?")
        yield Route(feature, path, method, bind(settings, method))


def operation(
    id: str,  # noqa: A002  # the word of OpenAPI
    *,
    access: AccessRule,
    answer: AnswerRule,
    media_type: str | None = None,
    texts: Mapping[str, str] | None = None,
    path: Schema | None = None,
    query: Schema | None = None,
    body: BodyRule | None = None,
    merge_patch: bool = False,
    problems: ProblemsRule = (),
    etag: Callable[[Any], str] | None = None,
    fresh: bool = False,
    repeatable: bool = False,
    database: bool = True,
    max_age: int | Setting[int] | None = None,
    headers: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
    follows: Mapping[str, Mapping[str, str]] | None = None,
    limit: Setting[Limit] | None = REQUEST_LIMIT,
    deprecated: Deprecation | None = None,
) -> Callable[[Method], Method]:
    """Declare a method of a resource.

    What the schemas load becomes the method's keyword arguments, and a Stream its `upload`; its
    docstring is the documentation. `access`, `body`, `answer` and `problems` may be functions of
    the settings.
    `headers` names the headers of the success and what they hold; `max_age` lets caches keep it, in
    seconds or by a setting.
    What is `repeatable` takes an Idempotency-Key: who repeats it gets the first answer again.
    `names` says where in the answer path parameters stand (`{"user_id": "user/id"}`), and `follows` which
    operations' answers hold members of this one's body, as runtime expressions of OpenAPI.
    `limit` is how often each client network may call this and whatever else has the same one.
    `deprecated` says when this ends, in every answer.
    """

    def declare(function: Method) -> Method:
        def bind(settings: Settings, method: str) -> Operation:
            status, schema = answer(settings) if callable(answer) else answer
            return Operation(
                id=id,
                function=function,
                access=access if isinstance(access, Access) else access(settings),
                status=status,
                answer=schema,
                media_type=media_type,
                texts=texts or {},
                path=path or NoParameters(),
                query=query or NoParameters(),
                body=body(settings) if callable(body) else body,
                merge_patch=merge_patch,
                problems=problems(settings) if callable(problems) else problems,
                etag=etag,
                fresh=fresh,
                repeatable=repeatable,
                database=database,
                max_age=settings[max_age] if isinstance(max_age, Setting) else max_age,
                headers=headers or {},
                names=names or {},
                follows=follows or {},
                policy=Policy.of(limit, settings),
                deprecated=deprecated,
                safe=method == "GET",
            )

        @wraps(function)
        def run(resource: Any, **path_values: str) -> Any:
            return host().operations[id].run(resource, path_values)

        run.bind = bind  # type: ignore[attr-defined]  # found by routes_of
        run.operation_id = id  # type: ignore[attr-defined]  # found by who lists operations
        return run  # type: ignore[return-value]  # a function like the one it wraps

    return declare
