"""The examples of the contract are what operations were sent and answered."""

import json
from typing import Any

import pytest
from marshmallow import Schema

from api.kit.operation import Operation
from tests import generated
from tests.support.contract import checked_in
from tests.support.own import own_features
from tests.support.servers import ROOT


@pytest.fixture(scope="module")
def taken() -> dict[str, dict[str, Any]]:
    """What is checked in, by operation."""
    files = [feature.examples for feature in own_features() if feature.examples is not None]
    return {name: example for file in files for name, example in json.loads(file.read_bytes()).items()}


@pytest.fixture(scope="module")
def operations() -> dict[str, Operation]:
    return generated.own_service().operations


def test_every_operation_that_speaks_json_has_examples(
    taken: dict[str, dict[str, Any]], operations: dict[str, Operation]
) -> None:
    wanted = {name: _parts(operation) for name, operation in operations.items() if _parts(operation)}
    assert {name: set(example) for name, example in taken.items()} == wanted


def _parts(operation: Operation) -> set[str]:
    """Return what an operation has examples of."""
    parts = {"body": isinstance(operation.body, Schema), "answer": operation.answer is not None}
    return {name for name, is_json in parts.items() if is_json}


def test_the_contract_shows_what_was_taken(taken: dict[str, dict[str, Any]]) -> None:
    document = checked_in()
    for item in document["paths"].values():
        for described in item.values():
            example = taken.get(described["operationId"], {})
            success = described["responses"][min(described["responses"])]
            for part, content in (("body", described.get("requestBody", {})), ("answer", success)):
                if part in example:
                    shown = content["content"]["application/json"]["example"]
                    assert shown == example[part], described["operationId"]


@pytest.mark.long
def test_the_same_requests_are_answered_alike_today() -> None:
    stale = [path.relative_to(ROOT) for path, wanted in generated.examples() if path.read_bytes() != wanted]
    assert stale == [], "run: make docs"
