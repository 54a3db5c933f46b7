"""What a file may not do, though it does much at once: what no other way of the API lets anybody do."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from flask import Flask

from api.bulk import running
from api.bulk.rows import ERRORS_PER_ROW
from tests.bulk.conftest import NDJSON, Import, deliver_all, lines_of, row
from tests.support.clients import PASSWORD, Person, client_of, new_person
from tests.support.mail import Mailbox
from tests.support.roles import new_holder, new_role

UPDATE = "?on_conflict=update"
ANOTHER = "another horse staple 1"
THIEF = "thief@evil.example"
Post = Callable[..., Any]


def named(admin: Person, name: str) -> dict[str, Any]:
    found: dict[str, Any] = admin.call("GET", f"/v1/users?username={name}").get_json()["items"][0]
    return found


def trail(admin: Person, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = admin.call("GET", f"/v1/audit-events{query}").get_json()["items"]
    return found


def reset_token(person: Person, mailbox: Mailbox) -> str:
    mailbox.deliver()
    asked = person.client.post("/v1/password-resets", json={"email": person.user["email"]})
    assert asked.status_code == 202
    return mailbox.only().token


@pytest.mark.parametrize(
    "changes",
    [
        [{"password": ANOTHER}],
        [{"status": "deleted"}, {"status": "active"}],
        [{"email": "elsewhere@example.com"}, {}],
    ],
    ids=["password", "deleted and back", "address away and back"],
)
def test_a_letter_from_before_sets_no_password_afterwards(
    mina: Person, bring: Import, mailbox: Mailbox, changes: list[dict[str, Any]]
) -> None:
    token = reset_token(mina, mailbox)
    for change in changes:
        known = {"id": mina.id, "email": mina.user["email"]}
        assert bring(lines_of(known | change), query=UPDATE)["updated"] == 1
    sent = {"token": token, "new_password": "thief battery staple 77"}
    assert mina.client.post("/v1/password-resets/confirm", json=sent).status_code == 422


@pytest.mark.parametrize("change", [{"password": ANOTHER}, {"email": "elsewhere@example.com"}], ids=str)
def test_an_address_that_somebody_wanted_before_is_not_theirs_afterwards(
    app: Flask, admin: Person, mina: Person, bring: Import, mailbox: Mailbox, change: dict[str, Any]
) -> None:
    assert mina.call("PATCH", "/v1/users/me", {"email": THIEF}).status_code == 200
    deliver_all(app)
    token = next(letter.token for letter in mailbox.new() if letter.to == THIEF)
    bring(lines_of({"id": mina.id} | change), query=UPDATE)
    assert mina.client.post("/v1/email-verifications/confirm", json={"token": token}).status_code == 422
    found = admin.call("GET", f"/v1/users/{mina.id}").get_json()
    assert (found["pending_email"], found["email"]) == (None, change.get("email", mina.user["email"]))


def test_an_address_that_the_file_itself_gives_is_pending(admin: Person, mina: Person, bring: Import) -> None:
    bring(lines_of({"id": mina.id, "password": ANOTHER, "pending_email": "new@example.com"}), query=UPDATE)
    assert admin.call("GET", f"/v1/users/{mina.id}").get_json()["pending_email"] == "new@example.com"


@pytest.mark.parametrize("fall", ["demoted", "suspended", "deleted"])
def test_who_may_no_longer_does_nothing_by_a_file_that_waits(
    app: Flask, admin: Person, post: Post, fall: str
) -> None:
    other = new_person(app, admin=True)
    sent = post(lines_of(row("eve", roles=["admin"])), person=other)
    assert sent.status_code == 202
    falls = {
        "demoted": ("DELETE", f"/v1/users/{other.id}/roles/admin", None),
        "suspended": ("POST", f"/v1/users/{other.id}/suspension", {"reason": "rogue", "until": None}),
        "deleted": ("DELETE", f"/v1/users/{other.id}", None),
    }
    assert admin.call(*falls[fall]).status_code in (200, 201, 204)
    deliver_all(app)
    found = admin.call("GET", f"/v1/user-imports/{sent.get_json()['id']}").get_json()
    assert (found["status"], found["error"], found["created"]) == ("failed", "not_permitted", 0)
    assert admin.call("GET", "/v1/users?username=eve").get_json()["items"] == []


def test_who_may_import_and_no_more_imports(app: Flask, admin: Person, post: Post) -> None:
    holder = new_holder(app, "users:import")
    sent = post(lines_of(row("ken"), row("eve", roles=["admin"])), person=holder)
    deliver_all(app)
    found = admin.call("GET", f"/v1/user-imports/{sent.get_json()['id']}").get_json()
    assert (found["status"], found["created"], found["refused"]) == ("finished", 1, 1)


def test_a_role_that_is_deleted_while_rows_are_judged_is_not_given(
    app: Flask, admin: Person, post: Post
) -> None:
    role = new_role(app, "users:read")
    sent = post(lines_of(row("ken"), row("eve", roles=[role])))
    prepare = running._prepare

    def slow(*arguments: Any) -> Any:
        batch = prepare(*arguments)
        assert admin.call("DELETE", f"/v1/roles/{role}").status_code == 204
        return batch

    with patch.object(running, "_prepare", slow):
        deliver_all(app)
    path = f"/v1/user-imports/{sent.get_json()['id']}"
    assert admin.call("GET", path).get_json()["created"] == 1
    [error] = admin.call("GET", f"{path}/errors").get_json()["items"]
    assert (error["line"], error["pointer"], error["code"]) == (2, "/roles", "unknown_role")


@pytest.mark.parametrize("mode", ["refuse", "skip", "update"])
@pytest.mark.parametrize("dry", ["false", "true"])
def test_who_only_looks_like_somebody_is_another(
    admin: Person, bring: Import, monkeypatch: pytest.MonkeyPatch, mode: str, dry: str
) -> None:
    """In the file itself, in another batch, and among the users that there are."""
    monkeypatch.setattr(running, "BATCH_ROWS", 1)
    bring(lines_of(row("paypal")))
    alike = {
        "username": "\u0440\u0430ypal",
        "email": "attacker@evil.example",
        "password": ANOTHER,
    }  # Cyrillic
    two = [row("scope"), {"username": "sc\u043epe", "email": "other@example.com"}]
    job = bring(lines_of(alike, *two), query=f"?on_conflict={mode}&dry_run={dry}")
    assert {name: job[name] for name in ("created", "updated", "skipped", "refused")} == {
        "created": 1, "updated": 0, "skipped": 0, "refused": 2,
    }  # fmt: skip
    assert {error["code"] for error in job["errors"]} == {"username_taken"}
    assert named(admin, "paypal")["email"] == "paypal@example.com"


def test_nobody_has_more_roles_than_a_token_can_name(app: Flask, admin: Person, bring: Import) -> None:
    roles = [new_role(app) for _ in range(21)]
    assert bring(lines_of(row("mina", roles=roles)))["refused"] == 1
    assert bring(lines_of(row("mina", roles=roles[:20])))["created"] == 1
    assert named(admin, "mina")["roles"] == sorted(roles[:20])


def test_a_role_that_is_named_twice_is_given_once(app: Flask, admin: Person, bring: Import) -> None:
    later, sooner = sorted([new_role(app), new_role(app)], reverse=True)
    bring(lines_of(row("mina", roles=[later, sooner, later])))
    assert named(admin, "mina")["roles"] == [sooner, later]


def test_who_is_active_has_no_suspension_to_come_back_to(admin: Person, bring: Import) -> None:
    bring(lines_of(row("mina", status="active", suspended_at="2020-01-01T00:00:00Z", suspension_reason="x")))
    mina = named(admin, "mina")["id"]
    assert admin.call("DELETE", f"/v1/users/{mina}").status_code == 204
    assert admin.call("POST", f"/v1/users/{mina}/restoration").get_json()["status"] == "active"


def test_the_trail_says_whom_a_file_changed_and_how(
    app: Flask, admin: Person, mina: Person, bring: Import
) -> None:
    role = new_role(app)
    changed = {"id": mina.id, "password": ANOTHER, "display_name": "Mina", "roles": [role]}
    job = bring(lines_of(changed, row("ken", roles=[role]), row("eve")), query=UPDATE)
    events = [e for e in trail(admin, "?action=user_imported") if e["details"]["import_id"] == job["id"]]
    told = {event["subject_id"]: event["details"] for event in events}
    of_this = {"import_id": job["id"]}
    members = ["display_name", "password_changed_at", "password_hash", "roles"]
    assert told == {
        mina.id: of_this | {"members": members, "roles": [role]},
        named(admin, "ken")["id"]: of_this | {"members": ["roles"], "roles": [role]},
    }


def test_the_trail_says_who_ended_an_import(admin: Person, bring: Import) -> None:
    job = bring(lines_of(row("mina")))
    assert admin.call("DELETE", f"/v1/user-imports/{job['id']}").status_code == 204
    [event, *_] = trail(admin, "?action=import_deleted")
    assert (event["actor_id"], event["details"]) == (
        admin.id,
        {"import_id": job["id"], "status": "finished"},
    )


def test_an_import_that_somebody_deletes_while_it_is_sent_is_not_found(app: Flask, admin: Person) -> None:
    deleted: list[int] = []

    def pieces() -> Any:
        yield b'{"username":"ken","email":"ken@example.com"}\n' * 40_000
        [job] = admin.call("GET", "/v1/user-imports").get_json()["items"]
        deleted.append(admin.call("DELETE", f"/v1/user-imports/{job['id']}").status_code)
        yield b'{"username":"eve","email":"eve@example.com"}\n' * 40_000

    answer = client_of(app).post(
        "/v1/user-imports",
        content_type=NDJSON,
        headers=admin.bearer,
        environ_overrides={"wsgi.input": _Stream(pieces()), "CONTENT_LENGTH": "3600000"},
    )
    assert (deleted, answer.status_code, answer.get_json()["code"]) == ([204], 404, "not_found")


class _Stream:
    """A body that comes piece by piece."""

    def __init__(self, pieces: Any) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        if not self._rest:
            self._rest = next(self._pieces, b"")
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


def test_who_is_called_as_the_last_line_of_an_export_begins_is_brought_in(bring: Import) -> None:
    job = bring(b"username,email\r\nend_of_export,mina@example.com\r\n", "text/csv")
    assert (job["created"], job["refused"]) == (1, 0)


def test_a_row_of_many_errors_is_judged_no_further(bring: Import) -> None:
    job = bring(lines_of({f"no{n}": n for n in range(1000)}))
    assert (job["refused"], len(job["errors"])) == (1, ERRORS_PER_ROW)


def test_sign_in_with_the_old_password_ends_with_the_import(mina: Person, bring: Import) -> None:
    bring(lines_of({"id": mina.id, "password": ANOTHER}), query=UPDATE)
    assert mina.call("GET", "/v1/users/me").status_code == 401
    sent = {"identifier": mina.user["username"], "password": PASSWORD}
    assert mina.client.post("/v1/sessions", json=sent).status_code == 401
