"""Who is found by `q`: the same users on both databases, whatever is looked for."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.kit import work
from api.kit.db import db
from api.kit.searching import contains, folded, needle
from api.users import listing, searching
from api.users.models import User
from tests.support import databases
from tests.support.clients import Person
from tests.support.population import add_users
from tests.support.servers import ROOT
from tests.support.watching import set_user
from tests.users.test_user_list import LIST, SORTS, ids_on, pages, refusal

NAMES = {
    "zoe": "Zoë O'Brien",
    "mina": "김민수",
    "li": "李 秀英",
    "fyodor": "Фёдор Иванов",
    "sakura": "佐藤 さくら",
    "rahul": "राहुल शर्मा",
    "percent": r"100% _sure_ \o/ ""quoted""",
}  # fmt: skip


@pytest.fixture
def named(app: Flask) -> dict[str, str]:
    """Users of several scripts: the username of each by their id."""
    rows = [{"username": name, "email": f"{name}@example.com", "display_name": NAMES[name]} for name in NAMES]
    return dict(zip(add_users(app, len(rows), rows=rows), NAMES, strict=True))


def found_by(admin: Person, named: dict[str, str], q: str) -> set[str]:
    return {named[user_id] for user_id in ids_on(pages(admin, q=q)) if user_id in named}


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("ZOE", {"zoe"}),
        ("zoë", {"zoe"}),
        ("o'br", {"zoe"}),
        ("김", {"mina"}),
        ("김민", {"mina"}),
        ("민수", set()),  # two characters: words begin with them
        ("김민수", {"mina"}),
        ("英", set()),
        ("李", {"li"}),
        ("秀英", {"li"}),
        ("федор", {"fyodor"}),
        ("ИВАН", {"fyodor"}),
        ("さくら", {"sakura"}),
        ("राहुल", {"rahul"}),
        ("li@e", {"li"}),
        ("li@", {"li"}),
        ("  zoe   o'BRIEN ", {"zoe"}),
        ("zoe zoe", set()),
        ("%", set()),
        ("0%", set()),
        ("00%", {"percent"}),
        ("_s", {"percent"}),
        ("_sure_", {"percent"}),
        ("\\o", {"percent"}),
        ("\\o/", {"percent"}),
        ("100_", set()),
        ("e%e", set()),
        ("@example.com", set(NAMES)),
        ("*", set()),
        ("zoe OR mina", set()),
        ("percent@example.com", {"percent"}),
        ("percent@example.cor", set()),
        ("\u0301", set()),
        (" ", set()),
    ],
)
def test_users_are_found(admin: Person, named: dict[str, str], q: str, expected: set[str]) -> None:
    assert found_by(admin, named, q) == expected


@pytest.mark.parametrize("rare", [0, searching.RARE])
def test_they_are_found_beyond_the_first_glance(
    app: Flask, admin: Person, named: dict[str, str], monkeypatch: pytest.MonkeyPatch, rare: int
) -> None:
    monkeypatch.setattr(listing, "GLANCE", 2)
    monkeypatch.setattr(listing, "WINDOW", 3)
    monkeypatch.setattr(searching, "RARE", rare)
    monkeypatch.setattr(searching, "_SOME", 2)
    add_users(app, 20)
    assert found_by(admin, named, "zoe") == {"zoe"}
    assert found_by(admin, named, "example") == set(NAMES)


def test_whoever_has_only_the_ends_of_what_is_looked_up_is_not_found(app: Flask, admin: Person) -> None:
    addresses = ["mina.smith.938129@example.com", "mina.smith.938.129@example.com"]
    ids = add_users(app, 2, rows=[{"email": address} for address in addresses])
    for address, user_id in zip(addresses, ids, strict=True):
        found = admin.call("GET", f"/v1/users?q={address}").get_json()["items"]
        assert [user["id"] for user in found] == [user_id]


@pytest.fixture
def crowd(app: Flask, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Namesakes, of whom many were created within the same second, at its ends, and long ago."""
    monkeypatch.setattr(listing, "GLANCE", 4)
    monkeypatch.setattr(listing, "WINDOW", 8)
    monkeypatch.setattr(searching, "_SOME", 3)
    second = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)
    instants = [second + timedelta(microseconds=offset) for offset in (-1, 0, 0, 0, 1, 999_999, 1_000_000)]
    instants += [second + timedelta(milliseconds=number * 90) for number in range(20)]
    instants += [datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), datetime(1, 1, 1, tzinfo=UTC)]
    instants += [datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)]
    rows = [
        {
            "created_at": instant,
            "username": f"Namesake-of-Mina-{number}",
            "email_verified": number % 3 == 0,
        }
        for number, instant in enumerate(instants)
    ]
    ids = add_users(app, len(rows), rows=rows)
    return [{**row, "id": user_id} for row, user_id in zip(rows, ids, strict=True)]


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("q", ["namesake", "mina-1", "Namesake-of-Mina-1"])
@pytest.mark.parametrize(
    "query",
    [
        {},
        {"email_verified": "true"},
        {"created_after": "2026-11-01T09:30:00.5Z"},
        {"created_before": "2026-11-01T09:30:00.5Z"},
        {"created_after": "2026-11-01T09:30:00Z", "created_before": "2026-11-01T09:30:01Z"},
    ],
    ids=str,
)
def test_a_walk_meets_whoever_is_found_in_order(
    admin: Person, crowd: list[dict[str, Any]], q: str, query: dict[str, Any], sort: str
) -> None:
    bounds = {name: datetime.fromisoformat(value) for name, value in query.items() if "created" in name}
    expected = [
        row["id"]
        for row in sorted(crowd, key=lambda row: (row["created_at"], row["id"]), reverse=sort[0] == "-")
        if q.lower() in row["username"].lower()
        and (row["email_verified"] or "email_verified" not in query)
        and row["created_at"] >= bounds.get("created_after", row["created_at"])
        and ("created_before" not in bounds or row["created_at"] < bounds["created_before"])
    ]
    assert expected
    assert ids_on(pages(admin, q=q, sort=sort, limit=2, **query)) == expected


def test_whoever_was_created_at_another_time_is_found_there(
    app: Flask, admin: Person, crowd: list[dict[str, Any]]
) -> None:
    """An import may say so."""
    moved = crowd[3]["id"]
    set_user(app, moved, created_at=datetime(2025, 1, 1, tzinfo=UTC))
    found = ids_on(pages(admin, q="namesake", sort="created_at", limit=2))
    assert found.index(moved) == 2  # after those of the years 1 and 1969
    assert len(found) == len(set(found)) == len(crowd)


def test_a_search_is_bounded(admin: Person) -> None:
    assert admin.call("GET", f"{LIST}?q={'x' * 200}").status_code == 200
    assert refusal(admin.call("GET", f"{LIST}?q={'x' * 201}")) == [("q", "too_long")]
    assert refusal(admin.call("GET", f"{LIST}?q=")) == [("q", "too_short")]
    for text in ("%00", "a%00b", "%ed%a0%80%00", "%0a", "%e2%80%ae"):
        assert refusal(admin.call("GET", f"{LIST}?q={text}")) == [("q", "invalid_characters")]


def test_a_user_is_found_by_what_they_are_called_now(mina: Person, admin: Person) -> None:
    def finds(q: str) -> bool:
        return mina.id in ids_on(pages(admin, q=q))

    assert finds(mina.user["username"])
    mina.call("PATCH", "/v1/users/me", {"display_name": "Margarethe"})
    assert finds("margarethe")
    mina.call("PATCH", "/v1/users/me", {"display_name": None, "username": "gretchen"})
    assert not finds("margarethe")
    assert finds("gretchen")
    admin.call("PATCH", f"/v1/users/{mina.id}", {"email": "faust@example.com"})
    assert finds("faust@ex")


# Against a plain model

CHARACTERS = "aAbzZéßŁ\u0131İ@._-+%\\'\"* 김민수가각李秀さがФё\u0301\u3099אשׁمُحहि\u200b\U0001f600"
TEXTS = st.text(st.sampled_from(CHARACTERS), max_size=8)


def is_found(sought: str, texts: list[str | None]) -> bool:
    """Tell by plain Python whether somebody with these texts is found."""
    plain = " ".join(folded(sought).split())
    lines = [folded(text).split() for text in texts if text]
    if len(plain) < 3:
        return plain != "" and any(word.startswith(plain) for words in lines for word in words)
    return any(plain in " ".join(words) for words in lines)


@pytest.fixture
def ways(app: Flask) -> Iterator[list[sa.ColumnElement[bool]]]:
    """What finds users by the database that the app is on; PostgreSQL is made to ask its index."""
    with app.app_context(), work.reading():
        backend = db.engine.dialect.name
        if backend == "postgresql":
            db.session.execute(sa.text("SET enable_seqscan = off"))
        contained = contains(User.search_text, sa.bindparam("q", type_=sa.Text()))
        yield [contained, sa.and_(searching.BY_TRIGRAMS[backend], contained)]
        if backend == "postgresql":
            db.session.execute(sa.text("RESET enable_seqscan"))


@pytest.mark.long
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    people=st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=6),
    sought=st.lists(TEXTS.filter(lambda text: needle(text) is not None), min_size=1, max_size=12),
)
def test_every_way_finds_what_the_model_finds(
    app: Flask,
    ways: list[sa.ColumnElement[bool]],
    people: list[tuple[str, str, str]],
    sought: list[str],
) -> None:
    rows = [dict(zip(("username", "email", "display_name"), texts, strict=True)) for texts in people]
    ids = add_users(app, len(rows), rows=rows)
    try:
        for text in sought:
            parameters = listing._comparable({"q": text})
            expected = {user for user, texts in zip(ids, people, strict=True) if is_found(text, [*texts])}
            for way in ways:
                found = db.session.scalars(sa.select(User.id).where(way), parameters)
                assert {str(user) for user in found} & {*ids} == expected, text
    finally:
        remove(app, ids)


def remove(app: Flask, ids: list[str]) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(sa.delete(User).where(User.id.in_([UUID(user_id) for user_id in ids])))


@databases.ON_SQLITE
def test_the_index_of_sqlite_can_be_made_anew(
    app: Flask, admin: Person, named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/lists.md says."""
    monkeypatch.setattr(listing, "GLANCE", 1)
    [anew] = re.findall("```sql(.*?)```", (ROOT / "docs/lists.md").read_text(encoding="utf-8"), re.DOTALL)
    with app.app_context(), db.engine.begin() as connection:
        for statement in anew.split(";\n"):
            connection.exec_driver_sql(statement)
    assert found_by(admin, named, "o'brien") == {"zoe"}
    remove(app, [user for user, name in named.items() if name == "zoe"])
    assert found_by(admin, named, "o'brien") == set()
