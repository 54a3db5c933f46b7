"""What imports and exports do with roles, administrators and the suspended."""

import json

from flask import Flask

from tests.bulk.conftest import Import, exported, lines_of, row
from tests.support.clients import Person
from tests.support.roles import new_role


def users_of(file: bytes) -> dict[str, dict[str, object]]:
    """Return the users of an export by name."""
    found = [json.loads(line) for line in file.splitlines()]
    return {user["username"]: user for user in found if "username" in user}


def test_who_is_imported_with_a_role_has_it_in_every_way(app: Flask, bring: Import, admin: Person) -> None:
    role = new_role(app, "users:read")
    assert bring(lines_of(row("mina", roles=[role])))["created"] == 1
    assert admin.call("DELETE", f"/v1/roles/{role}").status_code == 409, "somebody has it"
    assert users_of(exported(admin))["mina"]["roles"] == [role]


def test_who_is_updated_has_the_roles_of_the_file_alone(app: Flask, bring: Import, admin: Person) -> None:
    before, after = new_role(app), new_role(app)
    bring(lines_of(row("mina", roles=[before]), row("ken", roles=[before])))
    bring(lines_of(row("mina", roles=[after]), row("ken", roles=[])), query="?on_conflict=update")
    assert admin.call("DELETE", f"/v1/roles/{before}").status_code == 204
    assert admin.call("DELETE", f"/v1/roles/{after}").status_code == 409


def test_a_role_that_there_is_not_is_refused(bring: Import) -> None:
    job = bring(lines_of(row("mina", roles=["admin", "no-such-role"])))
    assert [(e["pointer"], e["code"]) for e in job["errors"]] == [("/roles/1", "unknown_role")]


def test_a_file_takes_nothing_from_an_administrator(bring: Import, admin: Person) -> None:
    """Else it could take the last one away."""
    name = {"username": admin.user["username"]}
    changes: tuple[dict[str, object], ...] = ({"roles": []}, {"status": "suspended"}, {"status": "deleted"})
    for change in changes:
        job = bring(lines_of(name | change), query="?on_conflict=update")
        assert [error["code"] for error in job["errors"]] == ["administrator"]
    assert admin.call("GET", "/v1/users/me").get_json()["roles"] == ["admin"]


def test_who_is_suspended_comes_and_goes_with_why_and_until_when(bring: Import, admin: Person) -> None:
    suspension = {
        "status": "suspended",
        "suspended_at": "2026-01-02T03:04:05.000006Z",
        "suspended_until": "2099-01-01T00:00:00.000000Z",
        "suspension_reason": "Sends spam.",
    }
    bring(lines_of(row("mina", **suspension)))
    mina = users_of(exported(admin))["mina"]
    assert {name: mina[name] for name in suspension} == suspension
    shown = admin.call("GET", f"/v1/users/{mina['id']}/suspension").get_json()
    assert (shown["reason"], shown["until"]) == ("Sends spam.", suspension["suspended_until"])


def test_who_is_active_again_is_not_suspended_by_half(bring: Import, admin: Person) -> None:
    bring(lines_of(row("mina", status="suspended", suspension_reason="Sends spam.")))
    bring(lines_of(row("mina", status="active")), query="?on_conflict=update")
    mina = users_of(exported(admin))["mina"]
    assert (mina["status"], mina["suspended_at"], mina["suspension_reason"]) == ("active", None, None)


def test_the_audit_trail_says_who_brought_a_file(app: Flask, bring: Import, admin: Person) -> None:
    job = bring(lines_of(row("mina"), row("ken")))
    found = admin.call("GET", "/v1/audit-events?action=users_imported&limit=1").get_json()["items"][0]
    expected = {"import_id": job["id"], "by": admin.id, "created": 2, "updated": 0}
    assert (found["actor_kind"], found["details"]) == ("service", expected)


def test_the_audit_trail_says_who_had_everybody_written_out(admin: Person) -> None:
    exported(admin)
    exported(admin, "?format=csv")
    found = admin.call("GET", "/v1/audit-events?action=users_exported&limit=2").get_json()["items"]
    assert [item["details"] for item in found] == [
        {"format": "csv", "secrets": False},
        {"format": "ndjson", "secrets": True},
    ]
    assert [item["actor_id"] for item in found] == [admin.id] * 2
