"""The OpenAPI document (3.1), made from the operations that run."""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, cast

import orjson
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields

from api import __version__
from api.kit import conditional
from api.kit.config import PUBLIC_URL
from api.kit.deprecation import HEADERS as DEPRECATION_HEADERS
from api.kit.http import PROBLEM_JSON
from api.kit.idempotency import HEADER as IDEMPOTENCY_KEY
from api.kit.idempotency import MAXIMUM_KEY
from api.kit.limits import HEADERS as LIMIT_HEADERS
from api.kit.links import links_from
from api.kit.openapi_fields import JSON_OBJECT, add_fields, parameter_schema
from api.kit.operation import Operation, Route
from api.kit.problems import (
    FieldError,
    Problem,
    ReauthenticationRequired,
    TooManyRequests,
    ValidationFailed,
)
from api.kit.service import Service
from api.kit.uploads import Stream
from schemas.base import REQUIRED
from schemas.problems import ProblemAnswer, ValidationProblemAnswer

_REQUEST_ID = "0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10"
_IF_MATCH = "The entity tag of the state to be changed; with a stale one nothing is changed."
_IF_NONE_MATCH = "Entity tags of the states that the client has; answered by 304 when one is current."
_IDEMPOTENCY_KEY = (
    "A key of the client's choice, such as a UUID: a repetition of the request with the same key gets the "
    "first answer again, for 24 hours."
)
_DESCRIPTION = """\
User accounts and token login as a REST-only JSON API.

To begin, sign up with `POST /v1/users`, sign in with `POST /v1/sessions`, and send the `access_token` of the
answer as `Authorization: Bearer`. `GET /v1/users/me` then says who you are.

Every refusal is `application/problem+json` (RFC 9457); programs compare its `code`, and its
`type` leads to what it means. Requests with unknown members are refused; clients ignore unknown
members of answers. A server that is overloaded may answer any operation with 503.

Texts for people, which are `title`, `detail` and `remedy`, are in the best language for the header
`Accept-Language` that the service speaks (English and Korean), and `Content-Language` says which."""


def document(service: Service) -> dict[str, Any]:
    """Return the document of the features that are on, ready for JSON."""
    plugin = MarshmallowPlugin(schema_name_resolver=_schema_name)
    spec = APISpec(
        "Tessera",
        __version__,
        "3.1.0",
        plugins=[plugin],
        info={"description": _DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": service.settings[PUBLIC_URL]}],
        tags=[{"name": f.name, "description": f.summary} for f in service.features if f.resources],
        security=[],
    )
    converter = cast("OpenAPIConverter", plugin.converter)  # APISpec has made one
    add_fields(spec, converter)
    spec.components.security_scheme("accessToken", _ACCESS_TOKEN)
    for name, text in _LIMIT_HEADERS.items():
        spec.components.header(name, {"description": text, "schema": {"type": "string"}})
    examples = _examples(service)
    for route in service.routes:
        path, parameters = _path(route, converter)
        operation = _operation(route, converter, parameters, examples.get(route.operation.id, {}))
        if links := links_from(route.operation, service.operations.values()):
            operation["responses"][str(route.operation.status)]["links"] = links
        spec.path(path=path, operations={route.method.lower(): operation})
    rendered: dict[str, Any] = spec.to_dict()
    return rendered


_LIMIT_HEADERS = {"Retry-After": "Seconds after which to try again.", **LIMIT_HEADERS}
_ACCESS_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "The `access_token` of `POST /v1/sessions`.",
}


def as_json(described: dict[str, Any]) -> str:
    return orjson.dumps(described).decode()


def as_yaml(described: dict[str, Any]) -> str:
    """Return the document as it is checked in."""
    import yaml  # only here: 1 MiB

    text: str = yaml.safe_dump(described, sort_keys=False, allow_unicode=True, width=100)
    return f"# Made by `make openapi` from the code that runs; a test holds it true.\n{text}"


def _examples(service: Service) -> dict[str, dict[str, Any]]:
    """Return what the operations of features that tell were sent and answered, by operation."""
    files = [feature.examples for feature in service.features if feature.examples is not None]
    return {name: taken for file in files for name, taken in orjson.loads(file.read_bytes()).items()}


def _operation(
    route: Route,
    converter: OpenAPIConverter,
    path_parameters: list[dict[str, Any]],
    taken: Mapping[str, Any],
) -> dict[str, Any]:
    operation = route.operation
    summary, description = _documentation(operation)
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": summary,
        "tags": [route.feature],
        "security": [] if operation.access.public else [{"accessToken": []}],
    }
    if description:
        described["description"] = description
    if operation.deprecated is not None:
        described["deprecated"] = True
    parameters = path_parameters + _query(operation, converter) + _header_parameters(operation)
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        content = _request_body(operation.body, converter, taken.get("body"))
        described["requestBody"] = {"required": True, "content": content}
        if operation.merge_patch:
            content["application/merge-patch+json"] = content["application/json"]
    described["responses"] = _responses(operation, converter, taken.get("answer"))
    return described


def _documentation(operation: Operation) -> tuple[str, str]:
    """Return (summary, description): the method's docstring, who may call it, and until when."""
    summary, *paragraphs = inspect.cleandoc(operation.function.__doc__ or "").split("\n\n")
    end = operation.deprecated.describe() if operation.deprecated else ""
    texts = [" ".join(text.split()) for text in (*paragraphs, operation.access.describe(), end) if text]
    return " ".join(summary.split()).rstrip("."), "\n\n".join(texts)


def _path(route: Route, converter: OpenAPIConverter) -> tuple[str, list[dict[str, Any]]]:
    path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.path)
    return path, _parameters(route.operation.path, converter, "path")


def _query(operation: Operation, converter: OpenAPIConverter) -> list[dict[str, Any]]:
    return _parameters(operation.query, converter, "query")


def _parameters(schema: Schema, converter: OpenAPIConverter, location: str) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = converter.schema2parameters(schema, location=location)
    for parameter in parameters:
        described = parameter["schema"] = parameter_schema(parameter["schema"])
        for lifted in ("description", "example"):
            if lifted in described:
                parameter[lifted] = described.pop(lifted)
    return parameters


def _header_parameters(operation: Operation) -> list[dict[str, Any]]:
    tags = {
        "type": "string",
        "minLength": 1,
        "maxLength": conditional.MAXIMUM,
        "pattern": f"^(?:{conditional.PATTERN})$",
    }
    key = {"type": "string", "minLength": 1, "maxLength": MAXIMUM_KEY, "pattern": "^[!-~]+$"}
    headers = (
        (operation.etag and operation.safe, "If-None-Match", _IF_NONE_MATCH, tags),
        (operation.takes_precondition, "If-Match", _IF_MATCH, tags),
        (operation.repeatable, IDEMPOTENCY_KEY, _IDEMPOTENCY_KEY, key),
    )
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": schema}
        for applies, name, text, schema in headers
        if applies
    ]


def _request_body(body: Schema | Stream, converter: OpenAPIConverter, taken: Any) -> dict[str, Any]:
    return _texts(body.examples) if isinstance(body, Stream) else _json(body, converter, taken)


def _json(schema: Schema, converter: OpenAPIConverter, taken: Any) -> dict[str, Any]:
    """Describe a JSON document, by the example that was taken, or one put together from the schema's own."""
    example = _example(schema) if taken is None else taken
    return {"application/json": {"schema": converter.resolve_nested_schema(schema), "example": example}}


def _texts(examples: Mapping[str, str]) -> dict[str, Any]:
    """Describe texts of any length, by media type."""
    return {
        media_type: {"schema": {"type": "string", "format": "binary"}, "example": text}
        for media_type, text in examples.items()
    }


def _responses(operation: Operation, converter: OpenAPIConverter, taken: Any) -> dict[str, Any]:
    responses: dict[str, Any] = {str(operation.status): _success(operation, converter, taken)}
    if operation.etag and operation.safe:
        responses["304"] = {"description": "The state that the client has is current."}
    if operation.policy is not None:
        responses[str(operation.status)].setdefault("headers", {}).update(_references(LIMIT_HEADERS))
    by_status: dict[int, list[type[Problem]]] = defaultdict(list)
    for kind in operation.refusals().values():
        by_status[kind.status].append(kind)
    for status in sorted(by_status):
        responses[str(status)] = _refusal(by_status[status], converter)
    if operation.deprecated is not None:
        for described in responses.values():
            described.setdefault("headers", {}).update(_headers(DEPRECATION_HEADERS))
    return dict(sorted(responses.items()))


def _success(operation: Operation, converter: OpenAPIConverter, taken: Any) -> dict[str, Any]:
    described: dict[str, Any] = {"description": HTTPStatus(operation.status).phrase}
    names = dict(operation.headers)
    if operation.etag and (operation.answer or operation.texts or operation.media_type):
        names["ETag"] = "The entity tag of this state."
    if names:
        described["headers"] = _headers(names)
    if operation.media_type is not None:
        schema = JSON_OBJECT if operation.media_type == "application/json" else {"type": "string"}
        described["content"] = {operation.media_type: {"schema": schema}}
    if operation.texts:
        described["content"] = _texts(operation.texts)
    if operation.answer is not None:
        described["content"] = _json(operation.answer, converter, taken)
    return described


def _refusal(kinds: Iterable[type[Problem]], converter: OpenAPIConverter) -> dict[str, Any]:
    kinds = sorted(kinds, key=lambda kind: kind.code)
    shape = ValidationProblemAnswer if kinds[0].status == 422 else ProblemAnswer
    headers = {"headers": _references(_LIMIT_HEADERS)} if kinds[0].status == TooManyRequests.status else {}
    return {
        "description": " · ".join(f"`{kind.code}`: {kind.title}." for kind in kinds),
        **headers,
        "content": {
            PROBLEM_JSON: {
                "schema": converter.resolve_nested_schema(shape),
                "examples": {kind.code: {"value": _problem_example(kind)} for kind in kinds},
            }
        },
    }


def _headers(texts: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in texts.items()}


def _references(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _problem_example(kind: type[Problem]) -> dict[str, Any]:
    if kind is ValidationFailed:
        error = FieldError(REQUIRED, pointer="/member")
        return ValidationFailed([error]).as_dict(_REQUEST_ID)
    if kind is ReauthenticationRequired:
        return ReauthenticationRequired(300).as_dict(_REQUEST_ID)
    problem = Problem.__new__(kind)
    Problem.__init__(problem)
    return problem.as_dict(_REQUEST_ID)


def _example(schema: Schema) -> dict[str, Any]:
    """Return an example of the whole, put together from its members' own."""
    return {
        field.data_key or name: _field_example(field)
        for name, field in schema.fields.items()
        if "example" in field.metadata or isinstance(field, fields.Nested | fields.List)
    }


def _field_example(field: fields.Field[Any]) -> Any:
    if "example" in field.metadata:
        return field.metadata["example"]
    if isinstance(field, fields.List):
        return [_field_example(field.inner)]
    return _example(field.schema) if isinstance(field, fields.Nested) else None


def _schema_name(schema: Any) -> str:
    name = (schema if isinstance(schema, type) else type(schema)).__name__
    return re.sub(r"(?<=.)Answer$", "", name)
