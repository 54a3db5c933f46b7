"""Files of users become users: each row as a sign-up would be judged."""

from base64 import b64encode
from collections.abc import Callable
from hashlib import pbkdf2_hmac
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from api.bulk import running
from api.bulk.models import ImportChunk, ImportClaim
from api.kit import work
from tests.bulk.conftest import Import, deliver_all, exported, lines_of, row
from tests.support import databases
from tests.support.clients import PASSWORD, ContractClient, Person
from tests.support.mail import Mailbox

COUNTS = ("rows", "created", "updated", "skipped", "refused")


def counts(job: dict[str, Any]) -> tuple[int, ...]:
    return tuple(job[name] for name in COUNTS)


def codes(job: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [(error["line"], error["pointer"], error["code"]) for error in job["errors"]]


def test_rows_become_users(bring: Import, admin: Person) -> None:
    job = bring(lines_of(row("mina", display_name="Mina Kim", metadata={"a": [1]}), row("ken")))
    assert (job["status"], *counts(job)) == ("finished", 2, 2, 0, 0, 0)
    users = admin.call("GET", "/v1/users?sort=created_at").get_json()["items"]
    assert {user["username"] for user in users} >= {"mina", "ken"}
    [mina] = [user for user in users if user["username"] == "mina"]
    assert (mina["display_name"], mina["metadata"], mina["email_verified"]) == ("Mina Kim", {"a": [1]}, False)


def test_who_was_imported_with_a_password_signs_in(bring: Import, client: ContractClient) -> None:
    bring(lines_of(row("mina", password=PASSWORD)))
    assert _sign_in(client, "mina") == 201


def test_who_was_imported_with_a_foreign_hash_signs_in(bring: Import, client: ContractClient) -> None:
    hashes = {"mina": _django_hash(PASSWORD), "ken": _django_hash("another")}
    bring(lines_of(*(row(name, password_hash=hashed) for name, hashed in hashes.items())))
    assert [_sign_in(client, name) for name in hashes] == [201, 401]


def _django_hash(password: str) -> str:
    digest = pbkdf2_hmac("sha256", password.encode(), b"salt", 1000)
    return f"pbkdf2_sha256$1000$salt${b64encode(digest).decode()}"


def test_who_was_imported_without_a_password_does_not_sign_in(bring: Import, client: ContractClient) -> None:
    assert counts(bring(lines_of(row("mina"), row("ken", password_hash=None)))) == (2, 2, 0, 0, 0)
    for password in ("!", "", "none", PASSWORD):
        status = client.post(
            "/v1/sessions", json={"identifier": "mina", "password": password or "x"}
        ).status_code
        assert status == 401


def _sign_in(client: ContractClient, name: str) -> int:
    return client.post("/v1/sessions", json={"identifier": name, "password": PASSWORD}).status_code


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("username", "a b", "invalid_username"),
        ("username", "", "too_short"),
        ("username", "x" * 81, "too_long"),
        ("username", 5, "invalid_type"),
        ("email", "nobody", "invalid_email"),
        ("email", "a@b\x00.com", "invalid_characters"),
        ("password", "short", "too_short"),
        ("password", "password", "password_too_common"),
        ("password_hash", "md5$abc", "unknown_hash"),
        ("password_hash", "$2b$31$" + "a" * 21 + "e" + "b" * 31, "hash_too_costly"),
        ("display_name", "a\nb", "invalid_characters"),
        ("display_name", "", "too_short"),
        ("locale", "x", "too_short"),
        ("metadata", {"a": "x" * 20_000}, "too_long"),
        ("metadata", [], "invalid_type"),
        ("app_metadata", {"a": "\x00"}, "invalid_characters"),
        ("email_verified", "true", "invalid_type"),
        ("status", "gone", "not_one_of"),
        ("id", "1", "invalid_format"),
        ("created_at", "yesterday", "invalid_format"),
        ("created_at", "2026-02-30T00:00:00.000000Z", "invalid_format"),
        ("created_at", "2026-11-22T09:30:00.000000", "invalid_format"),
        ("created_at", "0001-01-01T00:00:00+14:00", "invalid_format"),
        ("deleted_at", "2026-11-22T09:30:00Z", "not_deleted"),
        ("pending_email", "nobody", "invalid_email"),
        ("is_admin", True, "unknown_member"),
        ("username_key", None, "unknown_member"),
        ("version", 7, "unknown_member"),
    ],
)
def test_what_is_unfit_is_refused_and_the_others_are_not(
    bring: Import, member: str, value: Any, code: str
) -> None:
    job = bring(lines_of(row("first"), {**row("mina"), member: value}, row("last")))
    assert codes(job) == [(2, f"/{member}", code)]
    assert counts(job) == (3, 2, 0, 0, 1)


def test_every_error_of_a_row_is_told(bring: Import) -> None:
    job = bring(lines_of({"username": "a b", "email": "nobody", "locale": 5, "roles": ["nothing"]}))
    assert {(pointer, code) for _, pointer, code in codes(job)} == {
        ("/username", "invalid_username"),
        ("/email", "invalid_email"),
        ("/locale", "invalid_type"),
        ("/roles/0", "unknown_role"),
    }
    assert counts(job) == (1, 0, 0, 0, 1)


@pytest.mark.parametrize("name", ["\f", "\u202e", "\x00", "a/b~c"], ids=ascii)
def test_an_unknown_member_of_any_name_is_told(bring: Import, name: str) -> None:
    job = bring(lines_of({**row("mina"), name: 1}, {**row("ken"), name: None}))
    told = name.replace("\x00", "\\x00").replace("~", "~0").replace("/", "~1")
    assert codes(job) == [(line, f"/{told}", "unknown_member") for line in (1, 2)]


def test_nothing_of_a_refused_row_is_told(bring: Import) -> None:
    job = bring(lines_of(row("mina", password="canary-7c1e" * 200, password_hash="canary-7c1e")))
    assert job["refused"] == 1
    assert "canary" not in str(job)


def test_a_row_needs_a_name(bring: Import) -> None:
    assert codes(bring(lines_of({"display_name": "Nobody"}))) == [(1, "/username", "required")]


def test_a_password_comes_in_one_form(bring: Import) -> None:
    hashed = "$2b$04$" + "a" * 21 + "e" + "b" * 31
    job = bring(lines_of(row("mina", password=PASSWORD, password_hash=hashed)))
    assert codes(job) == [(1, "/password_hash", "both_given")]


@databases.ON_SQLITE
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", []),
        (b"\n\n  \n", []),
        (b"\xef\xbb\xbf" + lines_of(row("mina")), []),
        (lines_of(row("mina")).replace(b"\n", b"\r\n"), []),
        (lines_of(row("mina"))[:-1], []),
        (b"{\n", [(1, "", "malformed_json")]),
        (b"[]\n5\nnull\n", [(n, "", "malformed_json") for n in (1, 2, 3)]),
        (b'{"username":"\xff"}\n', [(1, "", "malformed_json")]),
        (b'{"username":"\\ud800"}\n', [(1, "", "malformed_json")]),
        (b'{"username":"a","username":"b"}\n', [(1, "", "malformed_json")]),
        (b'{"username" :"a","username":"b"}\n', [(1, "", "malformed_json")]),
        (b'{"username":"a","metadata":{"a":1,"a":2}}\n', [(1, "", "malformed_json")]),
        (b'{"username":"a","metadata":{"a":NaN}}\n', [(1, "", "malformed_json")]),
        (b'{"username":"a","metadata":{"a":12345678901234567890}}\n', [(1, "", "malformed_json")]),
        (b'{"username":"a","metadata":{"a":1e999}}\n', [(1, "", "malformed_json")]),
        (b'{"username":"a","metadata":{"a":' + b"[" * 40 + b"]" * 40 + b"}}\n", [(1, "", "malformed_json")]),
        (b"x" * 300_000 + b"\n" + lines_of(row("mina")), [(1, "", "too_long")]),
        (lines_of(row("mina")) + b"x" * 300_000, [(2, "", "too_long")]),
        (b"\n\n{\n", [(3, "", "malformed_json")]),
    ],
)
def test_lines_that_are_no_rows_are_refused(
    bring: Import, body: bytes, expected: list[tuple[int, str, str]]
) -> None:
    job = bring(body)
    assert codes(job) == expected
    assert job["status"] == "finished"
    assert job["bytes_done"] == job["bytes"] == len(body)
    assert job["created"] == body.count(b'"mina"')


@pytest.mark.usefixtures("patient_app")
def test_a_file_of_many_batches_and_chunks(bring: Import, app: Flask, admin: Person) -> None:
    padding = "x" * 800
    job = bring(b"".join(lines_of(row(f"user{n}", metadata={"p": padding})) for n in range(4500)))
    assert counts(job) == (4500, 4500, 0, 0, 0)
    assert job["bytes"] > 3 << 20


def test_nothing_is_kept_of_a_file_that_is_done(bring: Import, app: Flask) -> None:
    bring(lines_of(row("mina", password=PASSWORD)), query="?dry_run=true")
    bring(lines_of(row("mina", password=PASSWORD)))
    with app.app_context():
        for model in (ImportChunk, ImportClaim):
            assert work.read_all(sa.select(model.import_id)) == []


# What there is already


FIRST = (row("mina", display_name="Mina"), row("ken", display_name="Ken"))


def test_rows_of_users_that_there_are_are_refused(bring: Import) -> None:
    bring(lines_of(*FIRST))
    job = bring(lines_of(row("Mina"), {"email": "KEN@example.com"}, {"username": "m\u0456na"}, row("eve")))
    assert codes(job) == [
        (1, "/username", "username_taken"),
        (1, "/email", "email_taken"),
        (2, "/email", "email_taken"),
        (3, "/username", "username_taken"),
    ]
    assert counts(job) == (4, 1, 0, 0, 3)


def test_rows_of_users_that_there_are_are_skipped(bring: Import, admin: Person) -> None:
    bring(lines_of(*FIRST))
    before = exported(admin)
    job = bring(lines_of(row("mina", display_name="Other"), row("ken")), query="?on_conflict=skip")
    assert counts(job) == (2, 0, 0, 2, 0)
    assert exported(admin) == before


def test_rows_of_users_that_there_are_update_them(bring: Import, admin: Person) -> None:
    bring(lines_of(*FIRST))
    changed = (
        row("mina", display_name=None, locale="ko-KR"),
        {"username": "ken", "email": "new@example.com"},
    )
    job = bring(lines_of(*changed, row("eve")), query="?on_conflict=update")
    assert counts(job) == (3, 1, 2, 0, 0)
    users = {user["username"]: user for user in admin.call("GET", "/v1/users").get_json()["items"]}
    assert (users["mina"]["display_name"], users["mina"]["locale"]) == (None, "ko-KR")
    assert (users["ken"]["email"], users["ken"]["display_name"]) == ("new@example.com", "Ken")


def test_a_row_that_is_of_two_users_updates_none(bring: Import, admin: Person) -> None:
    bring(lines_of(*FIRST))
    rows = ({"username": "mina", "email": "ken@example.com"}, {**row("ken"), "id": str(admin.id)})
    assert codes(bring(lines_of(*rows), query="?on_conflict=update")) == [
        (1, "", "ambiguous"),
        (2, "", "ambiguous"),
    ]


def test_rows_of_one_file_meet_each_other(bring: Import) -> None:
    rows = (row("mina"), row("Mina", email="other@example.com"), {"email": "MINA@example.com"})
    assert codes(bring(lines_of(*rows))) == [(2, "/username", "username_taken"), (3, "/email", "email_taken")]


@pytest.mark.usefixtures("patient_app")
@pytest.mark.parametrize("on_conflict", ["refuse", "skip", "update"])
def test_a_dry_run_says_what_would_come_and_changes_nothing(
    bring: Import, admin: Person, on_conflict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "BATCH_ROWS", 800)  # two batches, and more keys than one query looks for
    bring(lines_of(*FIRST))
    before = exported(admin)
    rows = [row(f"user{n}") for n in range(1000)]
    file = lines_of(*rows, row("mina"), row("user1"), row("a b"))
    dry = bring(file, query=f"?on_conflict={on_conflict}&dry_run=true")
    assert exported(admin) == before
    real = bring(file, query=f"?on_conflict={on_conflict}")
    assert counts(dry) == counts(real)
    assert dry["errors"] == real["errors"]


def test_updates_may_hand_an_address_on(bring: Import, admin: Person) -> None:
    bring(lines_of(*FIRST))
    rows = (
        {"username": "ken", "display_name": "K"},
        {"username": "mina", "email": "third@example.com"},
        {"username": "ken", "email": "mina@example.com"},
        {"username": "mina", "display_name": "M"},
    )
    job = bring(lines_of(*rows), query="?on_conflict=update")
    assert counts(job) == (4, 0, 4, 0, 0)
    users = {user["username"]: user["email"] for user in admin.call("GET", "/v1/users").get_json()["items"]}
    assert (users["ken"], users["mina"]) == ("mina@example.com", "third@example.com")


def test_an_update_of_the_password_ends_sessions(bring: Import, mina: Person) -> None:
    other = "another horse battery staple"
    row_of_mina = {"username": mina.user["username"], "display_name": "M"}
    bring(lines_of(row_of_mina), query="?on_conflict=update")
    assert mina.call("GET", "/v1/users/me").status_code == 200
    bring(lines_of(row_of_mina | {"password": other}), query="?on_conflict=update")
    assert mina.call("GET", "/v1/users/me").status_code == 401


# Who may


def test_roles_are_given_by_who_has_every_permission(bring: Import, client: ContractClient) -> None:
    job = bring(lines_of(row("root", roles=["admin"], password=PASSWORD), row("eve", roles=["other"])))
    assert codes(job) == [(2, "/roles/0", "unknown_role")]


def test_the_answer_leads_to_the_import(post: Callable[..., Any], app: Flask, admin: Person) -> None:
    answer = post(lines_of(row("mina")))
    job = answer.get_json()
    assert (job["status"], job["rows"], job["format"]) == ("waiting", 0, "ndjson")
    assert answer.headers["Location"] == f"https://id.example.com/v1/user-imports/{job['id']}"
    deliver_all(app)
    found = admin.call("GET", f"/v1/user-imports/{job['id']}").get_json()
    assert found["status"] == "finished"
    assert found["started_at"] <= found["finished_at"]


def test_no_letter_goes_to_who_is_imported(bring: Import, mailbox: Mailbox) -> None:
    bring(lines_of(row("mina", password=PASSWORD)))
    assert "mina@example.com" not in [letter.to for letter in mailbox.new()]
