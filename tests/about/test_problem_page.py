"""docs/problems.md has what callers meet."""

from typing import Any

import pytest

from tests.support import databases
from tests.support.clients import ContractClient, Person, new_details
from tests.support.servers import ROOT

pytestmark = databases.ON_SQLITE

PAGE = (ROOT / "docs" / "problems.md").read_text(encoding="utf-8")


def test_every_problem_of_the_service_has_its_place(client: ContractClient) -> None:
    for kind in client.get("/problems").get_json()["items"]:
        assert f"### `{kind['code']}`\n\n**{kind['status']}: {kind['title']}.** {kind['detail']}" in PAGE
        assert f"What to do: {kind['remedy']}" in PAGE


@pytest.mark.parametrize(
    ("unfit", "code"),
    [
        ({"username": None}, "null_not_allowed"),
        ({"username": 1}, "invalid_type"),
        ({"username": "no name"}, "invalid_username"),
        ({"username": "root"}, "username_reserved"),
        ({"username": "a\u0000"}, "invalid_characters"),
        ({"email": "nobody"}, "invalid_email"),
        ({"password": "short"}, "too_short"),
        ({"password": "password123"}, "password_too_common"),
        ({"display_name": "a" * 201}, "too_long"),
        ({"locale": "?"}, "too_short"),
        ({"locale": "??"}, "invalid_format"),
        ({"more": 1}, "unknown_member"),
    ],
)
def test_what_is_wrong_with_a_body_has_its_place(
    client: ContractClient, unfit: dict[str, Any], code: str
) -> None:
    [error] = client.post("/v1/users", json=new_details() | unfit).get_json()["errors"]
    assert error["code"] == code
    assert f"\n| `{code}` | " in PAGE


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "out_of_range"),
        ("limit=1&limit=1", "repeated"),
        ("cursor=x", "invalid_cursor"),
        ("count=all", "not_one_of"),
    ],
)
def test_what_is_wrong_with_a_query_has_its_place(admin: Person, query: str, code: str) -> None:
    [error] = admin.call("GET", f"/v1/users?{query}").get_json()["errors"]
    assert error["code"] == code
    assert f"\n| `{code}` | " in PAGE
