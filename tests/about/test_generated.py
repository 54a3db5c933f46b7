"""What is generated and checked in is what the code says today."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests import generated
from tests.support.contract import Contract, checked_in
from tests.support.servers import ROOT


@cache
def _documents() -> list[tuple[Path, bytes]]:
    """Return what is generated; it is generated once for all tests."""
    return list(generated.documents())


@pytest.mark.parametrize("name", ["openapi.yaml", "problems.md", "README.md", "messages.po", "messages.mo"])
def test_not_a_byte_has_drifted(name: str) -> None:
    found = [(path, wanted) for path, wanted in _documents() if path.name == name]
    assert found
    for path, wanted in found:
        assert path.read_bytes() == wanted, f"{path}: run: make docs"


def test_openapi_yaml_is_accepted_by_the_validator() -> None:
    validate(checked_in())


def test_every_operation_has_what_generators_and_readers_need() -> None:
    document = checked_in()
    ids = set()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["tags"], where
            assert "security" in operation, where
            assert operation["operationId"] not in ids, where
            ids.add(operation["operationId"])
            for status, answer in operation["responses"].items():
                for media_type, content in answer.get("content", {}).items():
                    has_example = "example" in content or "examples" in content
                    assert has_example or path.startswith("/openapi"), f"{where} {status} {media_type}"


def test_every_object_has_a_name_of_its_own() -> None:
    document = checked_in()
    shapes = document["components"]["schemas"]
    within = [schema.get("properties", {}) for schema in shapes.values()]
    assert [where for where, schema in _schemas([document["paths"], within], "") if _is_object(schema)] == []


def _schemas(value: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what may be a schema, with where it stands; examples are none."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, dict):
        yield where, value
    for name, inner in items:
        if name not in ("example", "examples"):
            yield from _schemas(inner, f"{where}/{name}")


def _is_object(schema: dict[str, Any]) -> bool:
    return schema.get("type") in ("object", ["object", "null"])


def test_every_link_gives_parameters_that_its_operation_takes() -> None:
    document = checked_in()
    operations = {o["operationId"]: o for item in document["paths"].values() for o in item.values()}
    links = [
        link
        for operation in operations.values()
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert links
    for link in links:
        taken = {parameter["name"] for parameter in operations[link["operationId"]].get("parameters", [])}
        assert link.get("parameters", {}).keys() <= taken, link


def test_every_example_fits_its_schema() -> None:
    document = checked_in()
    contract = Contract(document)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            contents = [
                (f"responses/{status}", answer.get("content", {}))
                for status, answer in operation["responses"].items()
            ]
            contents.append(("requestBody", operation.get("requestBody", {}).get("content", {})))
            for place, content in contents:
                for media_type, described in content.items():
                    base = ["paths", path, method, *place.split("/"), "content", media_type, "schema"]
                    pointer = "#/" + "/".join(Contract.escape(part) for part in base)
                    examples = [e["value"] for e in described.get("examples", {}).values()]
                    for example in [*examples, *([described["example"]] if "example" in described else [])]:
                        contract.validate(f"{method} {path} {place}", pointer, example)


def test_every_pattern_is_read_alike_by_clients_in_other_languages() -> None:
    text = (ROOT / "openapi.yaml").read_text(encoding="utf-8")
    assert r"\Z" not in text
    assert r"(?P<" not in text
    Draft202012Validator.check_schema({"pattern": "x"})
