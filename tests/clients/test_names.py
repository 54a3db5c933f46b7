"""What openapi-python-client makes of the contract reads well: it never has to find a name by itself."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.clients.workshop import Workshop
from tests.support.contract import METHODS

pytestmark = [pytest.mark.long, pytest.mark.parametrize("workshop", ["python"], indirect=True)]


def snake(name: str) -> str:
    return re.sub(r"(?<=.)(?=[A-Z])", "_", name).lower()


def modules(workshop: Workshop, pattern: str) -> set[str]:
    return {path.stem for path in workshop.folder.glob(f"tessera_client/{pattern}.py")} - {"__init__"}


def contract(workshop: Workshop) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((workshop.folder / "openapi.yaml").read_text(encoding="utf-8"))
    return document


def operations(workshop: Workshop) -> Iterator[dict[str, Any]]:
    for item in contract(workshop)["paths"].values():
        yield from (operation for method, operation in item.items() if method in METHODS)


def test_every_operation_is_a_function(workshop: Workshop) -> None:
    ids = {snake(operation["operationId"]) for operation in operations(workshop)}
    assert modules(workshop, "api/*/*") == ids


def test_every_model_is_a_shape_of_the_contract_or_the_choices_of_a_parameter(workshop: Workshop) -> None:
    shapes = {snake(name) for name in contract(workshop)["components"]["schemas"]}
    choices = {
        snake(f"{operation['operationId']}_{parameter['name']}")
        for operation in operations(workshop)
        for parameter in operation.get("parameters", [])
        if "enum" in parameter["schema"]
    }
    assert modules(workshop, "models/*") - shapes == choices


def test_no_choice_is_named_by_its_number(workshop: Workshop) -> None:
    for path in (workshop.folder / "tessera_client" / "models").glob("*.py"):
        assert "VALUE_" not in path.read_text(encoding="utf-8"), path.name
