"""How the databases find a page: off an index in its order, never by a scan or a sort of the table."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask

from api.kit import work
from api.kit.db import READING, db
from api.users import listing, roles, searching
from api.users.models import ACTIVE, DELETED, SUSPENDED
from tests.support import databases
from tests.support.clients import Person, client_of, new_person
from tests.support.population import add_users
from tests.support.watching import Statement, statements
from tests.users.test_user_list import LIST, SORTS, pages

PEOPLE = 6_000
SCAN = re.compile(r"Seq Scan|SCAN users\b(?! USING (?:COVERING )?INDEX ix_)")
SORT = re.compile(r"'(?: *-> *)?(?:Incremental )?Sort\b|TEMP B-TREE")
BY_ROLE = "ix_role_members_role_created_at_user_id"
CREATED = "ix_users_created_at_id"
RECENT = "2026-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def population(shared_app: Flask) -> Iterator[Person]:
    """An administrator of many users, whom the database has looked at."""
    rows: list[dict[str, Any]] = [
        {
            "email": f"{'rare' if number % 2000 == 7 else 'common'}.{number}@example.com",
            "email_verified": number % 3 > 0,
            "status": {0: SUSPENDED, 1: DELETED}.get(number % 40, ACTIVE),
            "roles": ["staff"] if number % 2 else [],
        }
        for number in range(PEOPLE)
    ]
    ids = add_users(shared_app, PEOPLE, days_ago=1, rows=rows)
    with shared_app.app_context(), work.writing():
        roles.note_members_of({UUID(one): row["roles"] for one, row in zip(ids, rows, strict=True)})
    with shared_app.app_context(), db.engines[READING].connect() as connection:
        looks = (
            "VACUUM ANALYZE users, role_members"
            if connection.dialect.name == "postgresql"
            else "ANALYZE users"
        )
        connection.exec_driver_sql(looks)
    yield new_person(shared_app, admin=True)
    with shared_app.app_context():
        databases.wipe(db.engine)


@pytest.fixture
def admin(population: Person, shared_app: Flask, monkeypatch: pytest.MonkeyPatch) -> Person:
    monkeypatch.setattr(listing, "WINDOW", 120)  # of which even those who are few have several
    monkeypatch.setattr(listing, "GLANCE", 60)
    return Person(client_of(shared_app), population.user, population.tokens)


def plans(app: Flask, admin: Person, deep: bool, **query: Any) -> list[str]:
    """Return how the database finds a page: the plan of each statement that asks for users."""
    cursor = {}
    if deep:
        walk = pages(admin, limit=20, **query)
        for _ in range(3):
            cursor = {"cursor": next(walk).get_json()["next_cursor"]}
    with statements(app) as seen:
        answer = admin.client.get(LIST, query_string={"limit": 20, **query, **cursor}, headers=admin.bearer)
    assert answer.status_code == 200, answer.text
    asked = [one for one in seen if "FROM users" in one.text and not one.text.startswith("EXPLAIN")]
    return [_plan(app, one) for one in asked if "sessions" not in one.text]


def items(page: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.get_json()["items"]
    return found


def _plan(app: Flask, asked: Statement) -> str:
    explain = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}
    with app.app_context(), db.engine.connect() as connection:
        text = f"{explain[connection.dialect.name]} {asked.text}"
        return "\n".join(str(tuple(line)) for line in connection.exec_driver_sql(text, asked.parameters))


@pytest.mark.parametrize("deep", [False, True], ids=["first", "deep"])
@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({}, CREATED),
        ({"created_after": RECENT}, CREATED),
        ({"created_before": "2126-01-01T00:00:00Z"}, CREATED),
        ({"created_after": RECENT, "created_before": "2126-01-01T00:00:00Z"}, CREATED),
        ({"email_verified": "true"}, "ix_users_verified"),
        ({"email_verified": "false", "created_after": RECENT}, "ix_users_unverified"),
        ({"status": "suspended"}, "ix_users_suspended"),
        ({"status": "deleted", "email_verified": "true"}, "ix_users_deleted"),
        ({"status": "active"}, CREATED),
        ({"status": "active", "email_verified": "true"}, "ix_users_verified"),
        ({"last_seen_before": "2126-01-01T00:00:00Z"}, CREATED),
        ({"last_seen_before": "2126-01-01T00:00:00Z", "status": "suspended"}, "ix_users_suspended"),
        ({"role": "staff"}, BY_ROLE),
        ({"role": "staff", "status": "active"}, BY_ROLE),
        ({"role": "staff", "created_after": RECENT}, BY_ROLE),
    ],
    ids=str,
)
def test_a_page_comes_off_an_index_in_its_order(
    shared_app: Flask, admin: Person, query: dict[str, Any], index: str, sort: str, deep: bool
) -> None:
    found = plans(shared_app, admin, deep, sort=sort, **query)
    assert found
    for plan in found:
        comes_off_index(plan, index, deep)


@databases.ON_POSTGRESQL  # SQLite's trigrams are in order: the next test
@pytest.mark.parametrize("deep", [False, True], ids=["first", "deep"])
@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize(
    ("query", "index"), [({}, CREATED), ({"status": "suspended"}, "ix_users_suspended")], ids=str
)
def test_a_page_of_a_common_word_comes_off_an_index_in_its_order(
    shared_app: Flask, admin: Person, query: dict[str, Any], index: str, sort: str, deep: bool
) -> None:
    found = plans(shared_app, admin, deep, sort=sort, q="common", **query)
    assert found
    for plan in found:
        comes_off_index(plan, index, deep)


def comes_off_index(plan: str, index: str, deep: bool) -> None:
    """Fail unless a plan reads an index in its order, from the cursor on."""
    assert index in plan
    assert not SCAN.search(plan), plan
    assert not SORT.search(plan), plan
    assert not deep or re.search(r"\(created_at, ?(user_)?id\)? ?[<>]", plan), plan


@databases.ON_SQLITE
@pytest.mark.parametrize("sort", SORTS)
def test_sqlite_asks_its_trigrams_once_and_in_order(shared_app: Flask, admin: Person, sort: str) -> None:
    with statements(shared_app) as seen:
        assert admin.call("GET", f"{LIST}?q=common&limit=20&sort={sort}").status_code == 200
    asked = [one for one in seen if "FROM users_search" in one.text]
    assert ["users_search MATCH" in one.text for one in asked] == [True, False]
    match, page = [_plan(shared_app, one) for one in asked]
    assert not SORT.search(match), match
    assert not SCAN.search(page), page


@databases.ON_SQLITE
@pytest.mark.parametrize("sort", SORTS)
def test_sqlite_asks_its_trigrams_again_where_a_second_has_many(
    shared_app: Flask, admin: Person, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    """Three were created at each instant: who reads two has to know the third."""
    monkeypatch.setattr(searching, "_SPARE", 1)
    with statements(shared_app) as seen:
        assert admin.call("GET", f"{LIST}?q=common&limit=1&sort={sort}").status_code == 200
    asked = [one for one in seen if "users_search MATCH" in one.text]
    assert len(asked) == 2


@pytest.mark.parametrize("query", [{"email": "common.3@example.com"}, {"username": "mina"}], ids=str)
def test_who_has_an_identifier_is_found_by_it(
    shared_app: Flask, admin: Person, query: dict[str, Any]
) -> None:
    [plan] = plans(shared_app, admin, deep=False, status="active", q="common", **query)
    assert "uq_users" in plan or "sqlite_autoindex_users" in plan
    assert not SCAN.search(plan), plan


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("more", [{}, {"status": "active"}, {"email_verified": "true"}], ids=str)
def test_what_is_rare_is_found_by_trigrams(
    shared_app: Flask, admin: Person, sort: str, more: dict[str, Any]
) -> None:
    found = plans(shared_app, admin, deep=False, sort=sort, q="rare", **more)
    assert not [plan for plan in found if SCAN.search(plan)]
    by_trigrams = re.compile("ix_users_search_text|users_search VIRTUAL TABLE")
    assert [plan for plan in found if by_trigrams.search(plan)], found


@pytest.mark.parametrize("near", [1, 40, 10**9])
@pytest.mark.parametrize("sort", SORTS)
def test_who_is_rare_is_met_in_order_near_and_far(
    admin: Person, monkeypatch: pytest.MonkeyPatch, sort: str, near: int
) -> None:
    """The index of PostgreSQL is asked for those near first: none of three, one, or all of them."""
    monkeypatch.setattr(searching, "_NEAR", near)
    found = [user["email"] for page in pages(admin, q="rare", sort=sort, limit=1) for user in items(page)]
    expected = [f"rare.{number}@example.com" for number in (7, 2007, 4007)]
    assert found == (expected if sort == "created_at" else expected[::-1])


@databases.ON_POSTGRESQL
@pytest.mark.parametrize("sort", SORTS)
def test_postgresql_asks_for_those_near_first(shared_app: Flask, admin: Person, sort: str) -> None:
    with statements(shared_app) as seen:
        assert admin.call("GET", f"{LIST}?q=rare&limit=2&sort={sort}").status_code == 200
    by_trigrams = [one.text for one in seen if "search_text LIKE" in one.text and "EXPLAIN" not in one.text]
    [near] = by_trigrams  # of whom there are enough
    assert f"users.created_at {'<=' if sort == 'created_at' else '>='} %(near)s" in near


def test_an_estimate_looks_at_no_table(shared_app: Flask, admin: Person) -> None:
    for query in ({}, {"status": "suspended"}, {"email_verified": "true"}, {"q": "common"}):
        found = plans(shared_app, admin, deep=False, count="estimate", **query)
        assert not [plan for plan in found if SCAN.search(plan)], query


def test_the_index_tells_the_whole_of_a_population(shared_app: Flask, admin: Person) -> None:
    with shared_app.app_context(), db.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM users")) == PEOPLE + 1
    exact = admin.call("GET", f"{LIST}?count=exact&limit=1").get_json()["total"]
    estimate = admin.call("GET", f"{LIST}?count=estimate&limit=1").get_json()["total"]
    assert exact == PEOPLE + 1
    assert abs(estimate - exact) < PEOPLE / 10
