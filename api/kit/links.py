"""Links of the contract (OpenAPI 3.1): which operations an answer leads to, and with what of it."""

from collections.abc import Iterable
from typing import Any

from api.kit.operation import Operation
from schemas.base import PageAnswer


def links_from(source: Operation, operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the links of an operation's success, by the id of the operation that each leads to."""
    if source.answer is None:
        return {}
    drawn = {target.id: _link(source, target) for target in operations}
    return {target: {"operationId": target, **link} for target, link in drawn.items() if link}


def _link(source: Operation, target: Operation) -> dict[str, Any]:
    if source.id in target.follows:
        return {"requestBody": dict(target.follows[source.id])}
    if source is target and isinstance(source.answer, PageAnswer) and "cursor" in source.query.fields:
        path = {name: f"$request.path.{name}" for name in source.path.fields}
        return {"parameters": {**path, "cursor": "$response.body#/next_cursor"}}
    names = target.path.fields.keys()
    if names and names <= source.names.keys():
        return {"parameters": {name: f"$response.body#/{source.names[name]}" for name in names}}
    return {}
