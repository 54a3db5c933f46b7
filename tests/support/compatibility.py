"""What would break a client of an earlier contract: two OpenAPI documents, compared as a client meets them.

Requests may be answered more kindly than before, and answers may say more; never the other way round.
No tool in the registries reads OpenAPI 3.1 and judges both directions.
"""

from collections.abc import Iterable, Iterator
from typing import Any

Document = dict[str, Any]
Finding = tuple[str, str]  # the operationId, and what broke

_LOWER = ("maximum", "maxLength", "maxItems", "maxProperties")  # bounds that break requests when they fall
_HIGHER = ("minimum", "minLength", "minItems", "minProperties")
_FORMS = ("pattern", "format")
_METHODS = ("get", "put", "post", "delete", "patch")


def breaking(old: Document, new: Document) -> list[str]:
    """Return a line for each change that a client of the old contract may notice, sorted."""
    found = (f"`{operation}`: {what}" for operation, what in _Comparison(old, new).findings())
    return sorted(set(found))


class _Comparison:
    def __init__(self, old: Document, new: Document) -> None:
        self._old, self._new = old, new

    def findings(self) -> Iterator[Finding]:
        for path, item in self._old["paths"].items():
            for method in _METHODS:
                if method in item:
                    before, after = item[method], self._new["paths"].get(path, {}).get(method)
                    for what in self._operation(before, after):
                        yield before["operationId"], what

    def _operation(self, old: Document, new: Document | None) -> Iterator[str]:
        if new is None:
            yield "is gone"
            return
        if new["operationId"] != old["operationId"]:
            yield f"is named {new['operationId']} now"
        if new.get("security") and not old.get("security"):
            yield "needs an access token now"
        yield from self._parameters(old, new)
        yield from self._body(old.get("requestBody"), new.get("requestBody"))
        yield from self._answers(old["responses"], new["responses"])

    def _parameters(self, old: Document, new: Document) -> Iterator[str]:
        before, after = _by_place(old), _by_place(new)
        for place in before.keys() - after.keys():
            yield f"the parameter {place} is gone"
        for place, parameter in after.items():
            known = before.get(place)
            if parameter.get("required") and not (known or {}).get("required"):
                yield f"the parameter {place} is required now"
            if known is not None:
                yield from self._narrower(f"the parameter {place}", known["schema"], parameter["schema"])

    def _body(self, old: Document | None, new: Document | None) -> Iterator[str]:
        if old is None or new is None:
            if (old is None) != (new is None):
                yield "takes no body any more" if new is None else "takes a body now"
            return
        for media_type, content in old["content"].items():
            if media_type not in new["content"]:
                yield f"takes no {media_type} any more"
            else:
                yield from self._narrower(
                    "the request", content["schema"], new["content"][media_type]["schema"]
                )

    def _answers(self, old: Document, new: Document) -> Iterator[str]:
        for status in (status for status in old if status < "400"):
            if status not in new:
                yield f"answers {status} no more"
                continue
            for name in old[status].get("headers", {}).keys() - new[status].get("headers", {}).keys():
                yield f"its {status} has no header {name} any more"
            after = new[status].get("content", {})
            for media_type, content in old[status].get("content", {}).items():
                if media_type not in after:
                    yield f"answers no {media_type} any more"
                else:
                    where = f"the answer {status}"
                    yield from self._wider(where, content["schema"], after[media_type]["schema"])

    def _narrower(self, where: str, old: Document, new: Document) -> Iterator[str]:
        """Yield what the old schema of a request allowed, and the new one does not."""
        old, new = _resolved(old, self._old), _resolved(new, self._new)
        yield from _lost(f"{where} does not take", _types(old), _types(new))
        yield from _lost(f"{where} does not take", old.get("enum"), new.get("enum"))
        yield from (
            f"{where} has another {rule}" for rule in ("pattern", "format") if _differs(rule, old, new)
        )
        yield from (f"{where} has a lower {rule}" for rule in _LOWER if _above(rule, old, new))
        yield from (f"{where} has a higher {rule}" for rule in _HIGHER if _above(rule, new, old))
        for name in set(new.get("required", ())) - set(old.get("required", ())):
            yield f"{where} must have {name} now"
        yield from self._members(where, old, new, "takes", self._narrower)

    def _wider(self, where: str, old: Document, new: Document) -> Iterator[str]:
        """Yield what the old schema of an answer promised, and the new one does not."""
        old, new = _resolved(old, self._old), _resolved(new, self._new)
        yield from _lost(f"{where} may be", _types(new), _types(old))
        for name in set(old.get("required", ())) - set(new.get("required", ())):
            yield f"{where} may be without {name}"
        if _differs("format", old, new):
            yield f"{where} has another format"
        yield from self._members(where, old, new, "has", self._wider)

    def _members(self, where: str, old: Document, new: Document, verb: str, compare: Any) -> Iterator[str]:
        members = new.get("properties", {})
        for name, schema in old.get("properties", {}).items():
            if name in members:
                yield from compare(f"{where}: {name}", schema, members[name])
            else:
                yield f"{where} {verb} no {name} any more"
        if "items" in old and "items" in new:
            yield from compare(f"{where}: each", old["items"], new["items"])


def _by_place(operation: Document) -> dict[str, Document]:
    return {f"{p['name']} ({p['in']})": p for p in operation.get("parameters", ())}


def _resolved(schema: Document, document: Document) -> Document:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _types(schema: Document) -> set[str] | None:
    types = schema.get("type")
    return {types} if isinstance(types, str) else set(types) if types else None


def _lost(what: str, old: Iterable[Any] | None, new: Iterable[Any] | None) -> Iterator[str]:
    """Yield what the old set has and the new one lacks; None is the set of everything."""
    if new is not None:
        for value in sorted(map(str, set(old) - set(new) if old is not None else {"everything"})):
            yield f"{what} {value}"


def _differs(rule: str, old: Document, new: Document) -> bool:
    return rule in new and new[rule] != old.get(rule)


def _above(rule: str, one: Document, other: Document) -> bool:
    """Tell whether one bound is above the other; none is above every upper and below every lower one."""
    if rule in _LOWER:
        return rule in other and one.get(rule, float("inf")) > other[rule]
    return rule in one and one[rule] > other.get(rule, float("-inf"))
