"""The audit trail over HTTP: what is found, by whom, and what users see of what concerns them."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from api.audit.models import AuditEvent
from api.kit.db import db
from api.kit.ids import new_id
from tests.audit.trail import entries, row, tamper
from tests.support.clients import Person
from tests.support.watching import statements

LIST = "/v1/audit-events"
MINE = "/v1/users/me/audit-events"
NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)


def items(person: Person, path: str = LIST, **query: str) -> list[dict[str, Any]]:
    """Return all items of a list, two a page."""
    return list(_walk(person, path, query))


def _walk(person: Person, path: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
    while True:
        answer = person.client.get(path, query_string=query | {"limit": "2"}, headers=person.bearer)
        assert answer.status_code == 200, answer.text
        yield from answer.get_json()["items"]
        if answer.get_json()["next_cursor"] is None:
            return
        query = query | {"cursor": answer.get_json()["next_cursor"]}


def test_a_walk_sees_each_entry_once_the_newest_first(app: Flask, admin: Person, mina: Person) -> None:
    expected = sorted(((entry.at, str(entry.id)) for entry in entries(app)), reverse=True)
    assert [item["id"] for item in items(admin)] == [entry_id for _, entry_id in expected]


def test_filters(app: Flask, admin: Person, mina: Person, ken: Person) -> None:
    admin.call("PATCH", f"/v1/users/{mina.id}", {"display_name": "new"})
    assert {item["subject_id"] for item in items(admin, action="user_created")} == {admin.id, mina.id, ken.id}
    assert {item["action"] for item in items(admin, actor_id=ken.id)} == {"authn_login_success"}
    assert len(items(admin, subject_id=mina.id)) == 3
    [one] = items(admin, subject_id=mina.id, actor_id=admin.id)
    assert (one["action"], one["details"]) == ("user_updated", {"members": ["display_name"]})


def test_instants_bound_from_then_on_and_before(app: Flask, admin: Person) -> None:
    [entry, *_] = entries(app)
    times = [NOON + timedelta(minutes=number) for number in range(3)]
    tamper(app, *(sa.insert(AuditEvent).values(row(entry) | {"id": new_id(), "at": at}) for at in times))
    found = items(admin, after="2020-01-01T12:00:00Z", before="2020-01-01T14:02:00.000000+02:00")
    assert [item["at"] for item in found] == ["2020-01-01T12:01:00.000000Z", "2020-01-01T12:00:00.000000Z"]


@pytest.mark.parametrize(
    "instant",
    [
        "2020-01-01",
        "2020-01-01T12:00:00",
        "2020-01-01 12:00:00Z",
        "2020-13-01T12:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",  # before the year 1
    ],
)
def test_what_is_no_instant_is_refused(admin: Person, instant: str) -> None:
    answer = admin.client.get(LIST, query_string={"after": instant}, headers=admin.bearer)
    [error] = answer.get_json()["errors"]
    assert (error["parameter"], error["code"]) == ("after", "invalid_format")


def test_an_action_that_there_is_not_is_refused(admin: Person) -> None:
    [error] = admin.call("GET", f"{LIST}?action=user_greeted").get_json()["errors"]
    assert (error["parameter"], error["code"]) == ("action", "not_one_of")


def test_a_cursor_is_good_for_its_own_filters_only(admin: Person, mina: Person) -> None:
    cursor = admin.call("GET", f"{LIST}?limit=1").get_json()["next_cursor"]
    for path in (f"{LIST}?action=user_created", f"{LIST}?actor_id={mina.id}", f"{MINE}?limit=1"):
        answer = admin.call("GET", f"{path}&cursor={cursor}")
        assert answer.get_json()["errors"][0]["code"] == "invalid_cursor"


def test_it_is_read_only(admin: Person) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert admin.call(method, LIST, {}).status_code == 405


# The user's own view


def test_users_see_what_they_did_in_full(mina: Person) -> None:
    [signed_in, created] = items(mina, MINE)
    assert (signed_in["action"], signed_in["actor_kind"], signed_in["actor_id"]) == (
        "authn_login_success", "user", mina.id,
    )  # fmt: skip
    assert signed_in["session_id"] == mina.tokens["session"]["id"]
    assert signed_in["ip"] == "127.0.0.1"
    assert created["action"] == "user_created"


def test_users_do_not_see_who_administers_them(app: Flask, admin: Person, mina: Person) -> None:
    admin.call("PATCH", f"/v1/users/{mina.id}", {"display_name": "new"})
    [seen, *_] = items(mina, MINE)
    assert (seen["action"], seen["actor_kind"]) == ("user_updated", "administrator")
    assert {seen[name] for name in ("actor_id", "session_id", "ip", "request_id")} == {None}
    [whole, *_] = items(admin, f"/v1/users/{mina.id}/audit-events")
    assert (whole["actor_kind"], whole["actor_id"]) == ("user", admin.id)


def test_users_see_from_where_somebody_tried_to_be_them(mina: Person) -> None:
    body = {"identifier": mina.user["username"], "password": "not the password"}
    mina.client.post("/v1/sessions", json=body, environ_overrides={"REMOTE_ADDR": "192.0.2.7"})
    [seen, *_] = items(mina, MINE)
    assert (seen["action"], seen["actor_kind"], seen["ip"]) == ("authn_login_fail", "nobody", "192.0.2.7")


def test_users_see_nothing_of_others(app: Flask, admin: Person, mina: Person, ken: Person) -> None:
    admin.call("PATCH", f"/v1/users/{ken.id}", {"display_name": "new"})
    assert {item["subject_id"] for item in items(mina, MINE)} == {mina.id}
    assert ken.id not in repr(items(admin, f"/v1/users/{mina.id}/audit-events"))


# Cost


FILTERS: list[dict[str, str]] = [
    {},
    {"action": "user_created"},
    {"actor_id": str(new_id())},
    {"subject_id": str(new_id())},
    {"after": "2020-01-01T12:00:00Z", "before": "2030-01-01T12:00:00Z"},
    {"action": "user_created", "after": "2020-01-01T12:00:00Z"},
]


def test_a_page_is_read_from_an_index_in_its_order(app: Flask, admin: Person) -> None:
    _fill(app)
    for query in FILTERS:
        plan = _plan(app, admin, query)
        assert re.search(r"INDEX ix_audit_events|Index Scan (Backward )?using ix_audit_events", plan), plan
        assert not re.search(r"Sort|Seq Scan|TEMP B-TREE", plan), plan


def _plan(app: Flask, admin: Person, query: dict[str, str]) -> str:
    """Return how the database reads a page of the list."""
    with statements(app) as seen:
        answer = admin.client.get(LIST, query_string=query, headers=admin.bearer)
    assert answer.status_code == 200
    [read] = [statement for statement in seen if "audit_events" in statement.text]
    with app.app_context(), db.engine.connect() as connection:
        explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
        return "\n".join(map(str, connection.exec_driver_sql(explain + read.text, read.parameters)))


def _fill(app: Flask) -> None:
    """Add so many entries that an index is worth it, and let the database know."""
    [entry, *_] = entries(app)
    kinds = ("user_created", "user_updated", "authn_login_success")
    rows = [
        row(entry)
        | {
            "id": new_id(),
            "at": NOON + timedelta(seconds=number),
            "action": kinds[number % len(kinds)],
            "actor_id": new_id(),
            "subject_id": new_id(),
        }
        for number in range(2000)
    ]
    tamper(app, sa.insert(AuditEvent).values(rows), sa.text("ANALYZE audit_events"))
