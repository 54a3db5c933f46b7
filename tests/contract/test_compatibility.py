"""No change breaks a client of the last release, unless the changelog says so."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.generated import OPENAPI
from tests.support.compatibility import breaking
from tests.support.contract import load_yaml
from tests.support.servers import ROOT

RELEASED = ROOT / "tests" / "contract" / "released.yaml"
CHANGELOG = ROOT / "CHANGELOG.md"

Document = dict[str, Any]


@pytest.fixture(scope="module")
def current() -> Document:
    found: Document = load_yaml(OPENAPI.read_text(encoding="utf-8"))
    return found


def declared() -> list[str]:
    """Return what the changelog says will break, of the version that is yet to be released."""
    [unreleased] = re.findall(r"^## Unreleased\n(.*?)(?=^## |\Z)", CHANGELOG.read_text("utf-8"), re.M | re.S)
    section = re.search(r"^### Breaking\n(.*?)(?=^### |\Z)", unreleased, re.M | re.S)
    return re.findall(r"^- (`\w+`: .*)$", section[1] if section else "", re.M)


def test_nothing_breaks_that_the_changelog_does_not_declare(current: Document) -> None:
    """A line `- <finding>` under `### Breaking` declares one; after a release, copy openapi.yaml here."""
    released = load_yaml(RELEASED.read_text(encoding="utf-8"))
    assert set(breaking(released, current)) - set(declared()) == set()


def of(document: Document, path: str, method: str) -> Any:
    return document["paths"][path][method]


def schema(document: Document, name: str) -> Any:
    return document["components"]["schemas"][name]


def parameter(document: Document, path: str, method: str, name: str) -> Any:
    return next(p for p in of(document, path, method)["parameters"] if p["name"] == name)


USERS, ONE, SESSIONS = "/v1/users", "/v1/users/{user_id}", "/v1/sessions"

BREAKS: dict[str, Callable[[Document], Any]] = {
    "`listUsers`: is gone": lambda d: d["paths"][USERS].pop("get"),
    "`createSession`: is gone": lambda d: d["paths"].pop(SESSIONS),
    "`getUser`: is named readUser now": lambda d: of(d, ONE, "get").update(operationId="readUser"),
    "`createSession`: needs an access token now": lambda d: of(d, SESSIONS, "post").update(
        security=[{"accessToken": []}]
    ),
    "`listUsers`: the parameter q (query) is gone": lambda d: of(d, USERS, "get")["parameters"].remove(
        parameter(d, USERS, "get", "q")
    ),
    "`listUsers`: the parameter q (query) is required now": lambda d: parameter(d, USERS, "get", "q").update(
        required=True
    ),
    "`listUsers`: the parameter limit (query) has a lower maximum": lambda d: parameter(
        d, USERS, "get", "limit"
    )["schema"].update(maximum=100),
    "`listUsers`: the parameter sort (query) does not take created_at": lambda d: parameter(
        d, USERS, "get", "sort"
    )["schema"]["enum"].remove("created_at"),
    "`createUser`: the request takes no display_name any more": lambda d: schema(d, "UserCreate")[
        "properties"
    ].pop("display_name"),
    "`createUser`: the request must have display_name now": lambda d: schema(d, "UserCreate")[
        "required"
    ].append("display_name"),
    "`createUser`: the request: password has a higher minLength": lambda d: schema(d, "UserCreate")[
        "properties"
    ]["password"].update(minLength=100),
    "`createUser`: the request: display_name does not take null": lambda d: schema(d, "UserCreate")[
        "properties"
    ]["display_name"].update(type="string"),
    "`createUser`: takes no application/json any more": lambda d: of(d, USERS, "post")["requestBody"][
        "content"
    ].pop("application/json"),
    "`createUser`: answers 201 no more": lambda d: of(d, USERS, "post")["responses"].pop("201"),
    "`createUser`: its 201 has no header Location any more": lambda d: of(d, USERS, "post")["responses"][
        "201"
    ]["headers"].pop("Location"),
    "`getUser`: the answer 200 has no username any more": lambda d: schema(d, "User")["properties"].pop(
        "username"
    ),
    "`getUser`: the answer 200 may be without id": lambda d: schema(d, "User")["required"].remove("id"),
    "`getUser`: the answer 200: id may be null": lambda d: schema(d, "User")["properties"]["id"].update(
        type=["string", "null"]
    ),
    "`listUsers`: the answer 200: items: each has no username any more": lambda d: schema(d, "User")[
        "properties"
    ].pop("username"),
}


@pytest.mark.parametrize("finding", BREAKS)
def test_what_breaks_a_client_is_found(current: Document, finding: str) -> None:
    changed = copy.deepcopy(current)
    BREAKS[finding](changed)
    assert finding in breaking(current, changed)


ADDS: dict[str, Callable[[Document], Any]] = {
    "an operation": lambda d: d["paths"].update({"/v1/new": {"get": of(d, USERS, "get")}}),
    "a parameter": lambda d: of(d, USERS, "get")["parameters"].append(
        {"name": "new", "in": "query", "required": False, "schema": {"type": "string"}}
    ),
    "a member of a request": lambda d: schema(d, "UserCreate")["properties"].update(new={"type": "string"}),
    "a member of an answer": lambda d: schema(d, "User")["properties"].update(new={"type": "string"}),
    "a refusal": lambda d: of(d, ONE, "get")["responses"].update({"410": {"description": "Gone"}}),
    "a wider bound": lambda d: parameter(d, USERS, "get", "limit")["schema"].update(maximum=500),
    "a summary": lambda d: of(d, ONE, "get").update(summary="Another one"),
}


@pytest.mark.parametrize("added", ADDS)
def test_what_is_added_breaks_nobody(current: Document, added: str) -> None:
    changed = copy.deepcopy(current)
    ADDS[added](changed)
    assert breaking(current, changed) == []
