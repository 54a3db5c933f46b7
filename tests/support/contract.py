"""Holds every answer that a test sees against the OpenAPI document, and notes what was seen."""

import json
import re
from functools import cache, cached_property
from typing import Any

import yaml
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry
from referencing.jsonschema import DRAFT202012
from werkzeug.datastructures import Headers

from tests.support.servers import ROOT

CHECKED_IN = ROOT / "openapi.yaml"
SEEN: set[tuple[str, int]] = set()  # (operationId, status) that some test has met
URI = "urn:contract"
METHODS = ("get", "post", "put", "patch", "delete")
PROBLEM_JSON = "application/problem+json"


def load_yaml(text: str | bytes) -> Any:
    """Return what a YAML text holds, by the parser in C: the contract takes the one in Python a second."""
    return yaml.load(text, Loader=yaml.CSafeLoader)


@cache
def checked_in() -> dict[str, Any]:
    """Return openapi.yaml, read once; do not change what comes back."""
    found: dict[str, Any] = load_yaml(CHECKED_IN.read_text(encoding="utf-8"))
    return found


class Contract:
    """An OpenAPI document as a judge of answers."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        templates = sorted(document["paths"], key=lambda path: ("{" in path, path))
        self._paths = [
            (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))), template)
            for template in templates
        ]
        closed = _closed(document)
        resource = DRAFT202012.create_resource(closed)
        self._registry = Registry().with_resource(URI, resource)
        self._validators: dict[str, Draft202012Validator] = {}

    @cached_property
    def declared(self) -> set[tuple[str, int]]:
        """Every (operationId, status) that the document promises."""
        return {
            (operation["operationId"], int(status))
            for item in self.document["paths"].values()
            for method, operation in item.items()
            if method in METHODS
            for status in operation["responses"]
        }

    def find(self, method: str, path: str) -> tuple[str, dict[str, Any]] | None:
        """Return (template, operation) that a request is for; HEAD is for what GET is."""
        for pattern, template in self._paths:
            if pattern.fullmatch(path):
                method = "get" if method == "HEAD" else method.lower()
                operation = self.document["paths"][template].get(method)
                return (template, operation) if operation else None
        return None

    def check(self, method: str, path: str, status: int, headers: Headers, body: bytes) -> None:
        """Fail when the answer is not one that the document promises."""
        if method == "OPTIONS":
            return
        found = self.find(method, path.partition("?")[0])
        if found is None:
            self._check_undocumented(method, path, status, headers, body)
            return
        template, operation = found
        where = f"{method} {template} -> {status}"
        assert str(status) in operation["responses"], f"{where} is not declared: {body[:300]!r}"
        SEEN.add((operation["operationId"], status))
        declared = operation["responses"][str(status)]
        assert headers.get("X-Request-Id"), f"{where} has no X-Request-Id"
        assert headers.get("X-Content-Type-Options") == "nosniff", where
        if method != "HEAD":
            base = f"#/paths/{self.escape(template)}/{method.lower()}/responses/{status}"
            self._check_body(where, base, declared.get("content"), headers, body)

    def _check_undocumented(self, method: str, path: str, status: int, headers: Headers, body: bytes) -> None:
        where = f"{method} {path} -> {status}"
        assert status in (400, 404, 405), f"{where} is of no operation"
        assert headers["Content-Type"] == PROBLEM_JSON, where
        if method != "HEAD":
            self.validate(where, "#/components/schemas/Problem", json.loads(body))

    def _check_body(
        self,
        where: str,
        base: str,
        content: dict[str, Any] | None,
        headers: Headers,
        body: bytes,
    ) -> None:
        if content is None:
            assert body == b"", f"{where} must have no body"
            return
        media_type = headers["Content-Type"].partition(";")[0]
        assert media_type in content, f"{where} has the media type {media_type}"
        if media_type.endswith(("/json", "+json")):
            pointer = f"{base}/content/{self.escape(media_type)}/schema"
            self.validate(where, pointer, json.loads(body))

    @staticmethod
    def escape(part: str) -> str:
        """Return a part of a JSON pointer as a URI fragment has it."""
        return part.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")

    def validate(self, where: str, pointer: str, value: Any) -> None:
        if pointer not in self._validators:
            schema = {"$ref": URI + pointer}
            self._validators[pointer] = Draft202012Validator(
                schema, registry=self._registry, format_checker=FormatChecker()
            )
        errors = [f"{e.json_path}: {e.message}" for e in self._validators[pointer].iter_errors(value)]
        assert not errors, f"{where} breaks the contract: {errors}"


def _closed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with every schema closed: here a member that it does not name is a fault."""
    closed: dict[str, Any] = json.loads(json.dumps(document))  # a copy, faster than by `copy`
    for schema in closed["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return closed
