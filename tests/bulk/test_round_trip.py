"""What is exported imports back, and is the same file then."""

import csv
import io
import json
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from api.kit import work
from api.kit.db import db
from api.users.models import User
from tests.bulk.conftest import NDJSON, Import, deliver_all, exported, lines_of, row
from tests.support.clients import PASSWORD, ContractClient, Person, new_person

CSV = "text/csv"
FORMULAS = ("=1+1", "'=1+1", "''@x", "+1", "-1", "@SUM(A1)", "'quoted'", "' =1", "a,b", 'a"b', "'")
ROWS = (
    row("plain"),
    row("hashed", password=PASSWORD, email_verified=True),
    {"username": "\uae40\ubbfc\uc544"},
    {"email": "only@b\u00fccher.example", "pending_email": "other@example.com"},
    row("gone", status="deleted", deleted_at="2026-01-02T03:04:05.000006Z"),
    row("away", status="suspended", last_seen_at="2026-01-02T03:04:05Z"),
    row(
        "meta",
        metadata={"z": 1, "a": [1.5, 1e300, None, {"\u00e9": "\n\r\t'\"\\"}]},
        app_metadata={"b": True},
    ),
    row("old", id="00000000-0000-0000-0000-000000000001", created_at="1999-12-31T23:59:59Z"),
    *(row(f"cell{n}", display_name=text) for n, text in enumerate(FORMULAS)),
)


@pytest.fixture
def filled(bring: Import, admin: Person) -> Person:
    """An administrator among all sorts of users."""
    job = bring(lines_of(*ROWS))
    assert job["errors"] == []
    return admin


def _wiped(app: Flask) -> Person:
    """Remove every user, and return an administrator of later."""
    with app.app_context(), work.writing():
        db.session.execute(sa.delete(User))
    return new_person(app, admin=True)


@pytest.mark.parametrize(("content_type", "name"), [(NDJSON, "ndjson"), (CSV, "csv")])
def test_export_wipe_import_export_is_the_same_byte_for_byte(
    app: Flask, filled: Person, content_type: str, name: str
) -> None:
    query = f"?secrets=true&format={name}"
    file = exported(filled, query)
    other = _wiped(app)
    answer = other.client.post("/v1/user-imports", data=file, content_type=content_type, headers=other.bearer)
    deliver_all(app)
    path = f"/v1/user-imports/{answer.get_json()['id']}"
    assert other.call("GET", f"{path}/errors").get_json()["items"] == []
    assert other.call("GET", path).get_json()["created"] == len(ROWS) + 1
    assert _without(exported(other, query), other.id) == _without(file, other.id)


def _without(file: bytes, user_id: str) -> list[bytes]:
    """Return the lines of a file less one user's, and less the count."""
    return [line for line in file.splitlines(keepends=True)[:-1] if user_id.encode() not in line]


def test_who_was_exported_signs_in_again(app: Flask, filled: Person, client: ContractClient) -> None:
    file = exported(filled)
    other = _wiped(app)
    other.client.post("/v1/user-imports", data=file, content_type=NDJSON, headers=other.bearer)
    deliver_all(app)
    credentials = {"identifier": "hashed", "password": PASSWORD}
    answer = client.post("/v1/sessions", json=credentials)
    assert answer.status_code == 201
    root = client.post("/v1/sessions", json={"identifier": filled.user["username"], "password": PASSWORD})
    assert root.get_json()["user"]["roles"] == ["admin"]


def test_an_export_is_in_the_order_of_ids_with_a_last_line(filled: Person) -> None:
    *users, last = [json.loads(line) for line in exported(filled).splitlines()]
    ids = [user["id"] for user in users]
    assert ids == sorted(ids)
    assert last == {"end_of_export": len(users)}
    assert [list(user) for user in users] == [list(users[0])] * len(users)


def test_a_cut_export_is_noticed(bring: Import, filled: Person) -> None:
    lines = exported(filled).splitlines(keepends=True)
    job = bring(b"".join(lines[:3] + lines[-1:]), query="?dry_run=true&on_conflict=skip")
    assert [(e["line"], e["pointer"], e["code"]) for e in job["errors"]] == [
        (4, "/end_of_export", "incomplete_export")
    ]


def test_a_spreadsheet_runs_nothing_of_an_export(filled: Person) -> None:
    text = exported(filled, "?format=csv").decode()
    assert text.count("\r\n") == text.count("\n")
    cells = [cell for cells in csv.reader(io.StringIO(text)) for cell in cells]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert {"'=1+1", "''=1+1", "'@SUM(A1)"} <= set(cells)


def _rows(admin: Person) -> dict[str, dict[str, Any]]:
    users = [json.loads(line) for line in exported(admin).splitlines()[:-1]]
    return {user["username"]: user for user in users}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (b"username,display_name\r\nmina,Mina Kim\r\n", {"display_name": "Mina Kim"}),
        (b"\xef\xbb\xbfusername,display_name\nmina,Mina Kim", {"display_name": "Mina Kim"}),
        (b'username,metadata\nmina,"{""a"":\n\n1}"\n', {"metadata": {"a": 1}}),
        (b"username,email_verified\nmina,TRUE\n", {"email_verified": True}),
        (b"username,display_name\nmina,\n", {"display_name": None}),
        (b"username,display_name\nmina,'=1\n", {"display_name": "=1"}),
        (b"username,display_name\nmina,'s\n", {"display_name": "'s"}),
        (b"\n\nusername,display_name\n\nmina,x\n\n", {"display_name": "x"}),
        (b'username,roles\nmina,"[""admin""]"\n', {"roles": ["admin"]}),
    ],
)
def test_csv_is_read(bring: Import, admin: Person, file: bytes, expected: dict[str, Any]) -> None:
    job = bring(file, CSV)
    assert (job["errors"], job["created"]) == ([], 1)
    assert expected.items() <= _rows(admin)["mina"].items()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"a,x,y\n", [(2, "", "malformed_csv")]),
        (b"a\n", [(2, "", "malformed_csv")]),
        (b'a,"x\nb,y\nc,z\n', [(2, "", "malformed_csv")]),
        (b'a,"x"y\n', [(2, "", "malformed_csv")]),
        (b"a,\x00\n", [(2, "/display_name", "invalid_characters")]),
        (b"a,\xff\n", [(2, "/display_name", "invalid_characters")]),
        (b"a," + b"x" * 300_000 + b"\n", [(2, "", "too_long")]),
        (b"a," + b'"' + (b"x" * 5000 + b"\n") * 60, [(2, "", "malformed_csv")]),
    ],
)
def test_records_of_csv_that_are_none_are_refused(
    bring: Import, admin: Person, lines: bytes, expected: list[tuple[int, str, str]]
) -> None:
    job = bring(b"username,display_name\n" + lines + b"last,Last\n", CSV)
    found = [(error["line"], error["pointer"], error["code"]) for error in job["errors"]]
    assert found[:1] == expected
    assert "last" in _rows(admin)


@pytest.mark.parametrize(
    "header", [b"username,name", b"username,username", b'"username', b",", b"username,\xff"]
)
def test_a_file_without_a_header_is_no_file_of_users(bring: Import, header: bytes) -> None:
    job = bring(header + b"\nmina,x\n", CSV)
    assert (job["status"], job["error"], job["created"]) == ("failed", "invalid_header", 0)
    assert [error["code"] for error in job["errors"]] == ["invalid_header"]


@pytest.mark.usefixtures("patient_app")
def test_csv_of_many_batches(bring: Import) -> None:
    cells = "".join(f'user{n},"{{""a"":\n{n}}}"\r\n' for n in range(4500))
    job = bring(f"username,metadata\r\n{cells}".encode(), CSV)
    assert (job["rows"], job["created"], job["errors"]) == (4500, 4500, [])
