"""The filters of the list of users, alone and together, and how many fit."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from threading import Event, Thread
from typing import Any
from uuid import UUID

import pytest
from flask import Flask

from api.kit import work
from api.users import listing, roles
from api.users.models import ACTIVE, DELETED, SUSPENDED
from tests.support.clients import Person, new_person
from tests.support.population import add_users
from tests.support.watching import set_user
from tests.users.test_user_list import LIST, SORTS, erase_user, ids_on, pages, refusal

DAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def people(app: Flask, admin: Person) -> dict[str, dict[str, Any]]:
    """Users who differ in all that can be asked for, by their ids."""
    states, verified = cycle((ACTIVE, SUSPENDED, DELETED, ACTIVE, ACTIVE)), cycle((True, False, False))
    rows = [
        {
            "username": f"name{number}",
            "username_key": f"name{number}",
            "status": next(states),
            "email_verified": next(verified),
            "created_at": DAY + timedelta(days=number // 2),
            "last_seen_at": None if number % 4 == 0 else DAY + timedelta(days=number),
        }
        for number in range(40)
    ]
    return dict(zip(add_users(app, len(rows), rows=rows), rows, strict=True))


def at(days: int) -> str:
    return f"{DAY + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


def fits(row: dict[str, Any], query: dict[str, str]) -> bool:
    """Tell by plain Python whether a row fits all of a query."""
    seen = row["last_seen_at"] or row["created_at"]
    asked: dict[str, Callable[[Any], bool]] = {
        "status": lambda value: row["status"] == value,
        "username": lambda value: row["username"] == value.lower(),
        "email_verified": lambda value: row["email_verified"] == (value == "true"),
        "created_after": lambda value: row["created_at"] >= datetime.fromisoformat(value),
        "created_before": lambda value: row["created_at"] < datetime.fromisoformat(value),
        "last_seen_before": lambda value: seen < datetime.fromisoformat(value),
        "q": lambda value: value in row["username"],
    }
    return all(asked[name](value) for name, value in query.items())


QUERIES: list[dict[str, Any]] = [
    {"status": "active"},
    {"status": "suspended"},
    {"status": "deleted"},
    {"username": "NAME7"},
    {"email_verified": "true"},
    {"email_verified": "false"},
    {"created_after": at(5)},
    {"created_before": at(5)},
    {"created_after": at(5), "created_before": at(12)},
    {"last_seen_before": at(9)},
    {"q": "ame1"},
    {"status": "suspended", "email_verified": "false"},
    {"status": "active", "email_verified": "true", "created_after": at(3)},
    {"status": "deleted", "last_seen_before": at(30), "created_before": at(15)},
    {"email_verified": "false", "last_seen_before": at(20)},
    {"q": "ame1", "status": "active", "created_after": at(6)},
    {"q": "ame1", "email_verified": "true", "last_seen_before": at(15)},
    {"username": "name7", "status": "active"},
    {"username": "name7", "q": "ame2"},
    {"created_after": at(12), "created_before": at(5)},
]


@pytest.fixture(params=[listing.WINDOW, 3], ids=["wide", "narrow"])
def window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many users a page looks at: with few, it ends before it is full."""
    monkeypatch.setattr(listing, "WINDOW", request.param)
    monkeypatch.setattr(listing, "GLANCE", min(2, request.param))
    found: int = request.param
    return found


@pytest.mark.parametrize("sort", SORTS)
def test_a_walk_meets_exactly_whom_all_filters_fit(
    admin: Person, people: dict[str, dict[str, Any]], window: int, sort: str
) -> None:
    for query in QUERIES:
        seen = ids_on(pages(admin, limit=5, sort=sort, **query))
        expected = sorted(
            (user for user, row in people.items() if fits(row, query)),
            key=lambda user: (people[user]["created_at"], user),
            reverse=sort.startswith("-"),
        )
        assert [user for user in seen if user != admin.id] == expected, query


@pytest.fixture
def staff(app: Flask, people: dict[str, dict[str, Any]]) -> list[str]:
    """Every third of the people: those who have the role `staff`."""
    ids = list(people)[::3]
    with app.app_context(), work.writing():
        roles.note_members_of({UUID(user_id): ["staff", "other"] for user_id in ids})
    return ids


@pytest.mark.parametrize("sort", SORTS)
def test_who_has_a_role_is_met_by_a_walk(
    admin: Person,
    people: dict[str, dict[str, Any]],
    staff: list[str],
    window: int,
    sort: str,
) -> None:
    for query in [{}, *QUERIES]:
        seen = ids_on(pages(admin, role="staff", limit=3, sort=sort, **query))
        expected = sorted(
            (user for user in staff if fits(people[user], query)),
            key=lambda user: (people[user]["created_at"], user),
            reverse=sort.startswith("-"),
        )
        assert seen == expected, query


@pytest.mark.parametrize("count", ["exact", "estimate"])
def test_how_many_have_a_role(admin: Person, staff: list[str], count: str) -> None:
    """An estimate is exact where the first page holds them all."""
    for role, number in (("staff", len(staff)), ("admin", 1), ("nobody-has-it", 0)):
        answer = admin.client.get(LIST, query_string={"role": role, "count": count}, headers=admin.bearer)
        assert (answer.get_json()["total"], len(answer.get_json()["items"])) == (number, number)
    answer = admin.client.get(
        LIST, query_string={"role": "staff", "count": "exact", "limit": 1}, headers=admin.bearer
    )
    assert answer.get_json()["total"] == len(staff)


def test_a_page_that_has_looked_at_enough_ends(
    admin: Person, people: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "GLANCE", 4)
    monkeypatch.setattr(listing, "WINDOW", 10)
    walked = list(pages(admin, last_seen_before=at(3), limit=5))
    sizes = [len(answer.get_json()["items"]) for answer in walked]
    assert 0 in sizes[:-1]
    assert sum(sizes) == sum(fits(row, {"last_seen_before": at(3)}) for row in people.values())


def test_who_never_signed_in_was_last_seen_when_they_were_made(app: Flask, admin: Person) -> None:
    [old] = add_users(app, 1, rows=[{"created_at": DAY}])
    assert ids_on(pages(admin, last_seen_before=at(1))) == [old]
    assert ids_on(pages(admin, last_seen_before=at(0))) == []


def test_an_address_is_compared_as_when_signing_in(admin: Person, mina: Person) -> None:
    assert ids_on(pages(admin, email=mina.user["email"].upper())) == [mina.id]
    assert ids_on(pages(admin, username=mina.user["username"].upper())) == [mina.id]


@pytest.mark.parametrize("name", ["email", "username"])
@pytest.mark.parametrize("value", ["@", "not an address", "a@b@c", "nobody@example.com", "%"])
def test_an_identifier_that_nobody_has_fits_nobody(admin: Person, name: str, value: str) -> None:
    answer = admin.client.get(LIST, query_string={name: value, "count": "exact"}, headers=admin.bearer)
    assert answer.get_json() == {"items": [], "next_cursor": None, "total": 0}


@pytest.mark.parametrize(
    ("name", "values", "code"),
    [
        ("status", ["", "ACTIVE", "gone", "active,deleted"], "not_one_of"),
        ("count", ["", "yes", "true"], "not_one_of"),
        ("email_verified", ["", "1", "True", "null", "on"], "invalid_type"),
        (
            "created_after",
            ["", "now", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "1767225600",
             "2026-01-01T24:01:00Z", "0001-01-01T00:00:00%2B23:59", "9999-12-31T23:59:59-14:00"],
            "invalid_format",
        ),
        ("email", ["a%00b", "%0a"], "invalid_characters"),
        ("email", [""], "too_short"),
        ("username", ["x" * 81], "too_long"),
    ],
)  # fmt: skip
def test_an_unfit_filter_is_refused(admin: Person, name: str, values: list[str], code: str) -> None:
    for value in values:
        assert refusal(admin.call("GET", f"{LIST}?{name}={value}")) == [(name, code)], value


@pytest.mark.parametrize(
    "hidden", ["password_hash", "version", "id", "search_text", "roles", "not_active", "filter[email]"]
)
def test_nothing_hidden_can_be_asked_for(admin: Person, hidden: str) -> None:
    assert refusal(admin.call("GET", f"{LIST}?{hidden}=1")) == [(hidden, "unknown_member")]


def test_a_cursor_is_good_for_its_own_filters_only(admin: Person, people: dict[str, dict[str, Any]]) -> None:
    queries = [{}, *({name: value} for query in QUERIES[:11] for name, value in query.items())]
    walks = [(query, next(pages(admin, limit=1, **query)).get_json()["next_cursor"]) for query in queries]
    for query, cursor in walks:
        for other in queries:
            if cursor is not None and other != query:
                parameters = {"limit": 1, "cursor": cursor, **other}
                answer = admin.client.get(LIST, query_string=parameters, headers=admin.bearer)
                assert refusal(answer) == [("cursor", "invalid_cursor")], (query, other)


def test_a_cursor_is_good_for_its_caller_only(app: Flask, admin: Person) -> None:
    other = new_person(app, admin=True)
    cursor = admin.call("GET", f"{LIST}?limit=1").get_json()["next_cursor"]
    assert refusal(other.call("GET", f"{LIST}?limit=1&cursor={cursor}")) == [("cursor", "invalid_cursor")]


# How many


def total(admin: Person, **query: Any) -> int | None:
    answer = admin.client.get(LIST, query_string=query, headers=admin.bearer)
    found: int | None = answer.get_json()["total"]
    return found


def test_nobody_is_counted_unless_asked_for(admin: Person) -> None:
    assert total(admin) is None


def test_an_exact_count_is_of_all_pages(admin: Person, people: dict[str, dict[str, Any]]) -> None:
    assert total(admin, count="exact", limit=1) == len(people) + 1
    for query in QUERIES:
        expected = len(ids_on(pages(admin, **query)))
        assert total(admin, count="exact", limit=1, **query) == expected, query


def test_an_estimate_is_exact_where_one_page_holds_all(
    admin: Person, people: dict[str, dict[str, Any]]
) -> None:
    for query in ({}, *QUERIES):
        expected = len(ids_on(pages(admin, **query)))
        assert total(admin, count="estimate", limit=200, **query) == expected, query


def test_an_estimate_is_no_less_than_what_is_seen(admin: Person, people: dict[str, dict[str, Any]]) -> None:
    for query in ({}, *QUERIES):
        found = total(admin, count="estimate", limit=2, **query)
        assert found is not None
        assert found >= min(3, len(ids_on(pages(admin, **query)))), query


# While others come and go


@pytest.fixture
def turmoil(app: Flask) -> Iterator[None]:
    """Two threads that add users and remove them again, at both ends of the list and in its middle."""
    done = Event()

    def disturb(days_ago: int) -> None:
        while not done.is_set():
            for passing in add_users(app, 4, days_ago=days_ago):
                erase_user(app, passing)

    threads = [Thread(target=disturb, args=(days,)) for days in (0, 5)]
    for thread in threads:
        thread.start()
    yield
    done.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("query", [{}, {"last_seen_before": "2126-01-01T00:00:00Z"}, {"q": "user"}], ids=str)
def test_a_walk_meets_who_stays_once_while_others_come_and_go(
    app: Flask,
    admin: Person,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    query: dict[str, Any],
    sort: str,
) -> None:
    monkeypatch.setattr(listing, "WINDOW", 7)
    monkeypatch.setattr(listing, "GLANCE", 5)
    lasting = set(add_users(app, 90, days_ago=5, rows=[{"email": f"user{n}@example.com"} for n in range(90)]))
    request.getfixturevalue("turmoil")
    for _ in range(3):
        seen = ids_on(pages(admin, limit=4, sort=sort, **query))
        assert len(seen) == len(set(seen))
        assert lasting <= set(seen)


def test_a_deleted_user_is_listed_as_such(app: Flask, admin: Person, mina: Person) -> None:
    set_user(app, mina.id, status=DELETED)
    assert ids_on(pages(admin, status="deleted")) == [mina.id]
    assert mina.id not in ids_on(pages(admin, status="active"))
