"""The list of users, a page at a time."""

import string
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from api.kit import work
from api.kit.db import db
from api.users.models import User
from tests.conftest import MakeApp
from tests.support.clients import Person, client_of, new_person
from tests.support.population import add_users
from tests.support.watching import statements

LIST = "/v1/users"
SORTS = ["created_at", "-created_at"]
BASE64URL = f"{string.ascii_letters}{string.digits}-_"


def erase_user(app: Flask, user_id: str) -> None:
    with app.app_context(), work.writing():
        db.session.execute(sa.delete(User).where(User.id == UUID(user_id)))


def pages(admin: Person, between: Callable[[], None] = lambda: None, **query: Any) -> Iterator[TestResponse]:
    """Walk the list by its cursors, calling `between` after each page."""
    cursor: dict[str, str] = {}
    while True:
        answer = admin.client.get(LIST, query_string=query | cursor, headers=admin.bearer)
        assert answer.status_code == 200, answer.text
        yield answer
        if answer.get_json()["next_cursor"] is None:
            return
        cursor = {"cursor": answer.get_json()["next_cursor"]}
        between()


def ids_on(walked: Iterator[TestResponse]) -> list[str]:
    return [item["id"] for answer in walked for item in answer.get_json()["items"]]


def first_cursor(admin: Person, **query: Any) -> str:
    cursor = next(pages(admin, limit=1, **query)).get_json()["next_cursor"]
    assert isinstance(cursor, str)
    return cursor


def refusal(answer: TestResponse) -> list[tuple[str, str]]:
    """Return the (parameter, code) of each error of a 422."""
    assert answer.status_code == 422, answer.text
    return [(error["parameter"], error["code"]) for error in answer.get_json()["errors"]]


def test_the_list_is_not_for_everyone(mina: Person) -> None:
    refused = mina.call("GET", LIST)
    assert (refused.status_code, refused.get_json()["code"]) == (403, "permission_denied")
    assert refused.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="users:read"'


def test_the_list_is_for_nobody_who_is_not_signed_in(admin: Person) -> None:
    assert admin.client.get(LIST).status_code == 401


def test_an_item_is_what_the_user_alone_is(admin: Person, mina: Person) -> None:
    items = admin.call("GET", LIST).get_json()["items"]
    assert mina.call("GET", "/v1/users/me").get_json() in items


@pytest.mark.parametrize("sort", SORTS)
def test_a_walk_sees_each_user_once_and_in_order(app: Flask, admin: Person, sort: str) -> None:
    expected = {*add_users(app, 25), admin.id}
    walked = list(pages(admin, limit=7, sort=sort))
    assert [len(answer.get_json()["items"]) for answer in walked] == [7, 7, 7, 5]
    items = [item for answer in walked for item in answer.get_json()["items"]]
    assert {item["id"] for item in items} == expected
    order = [(item["created_at"], item["id"]) for item in items]
    assert order == sorted(order, reverse=sort.startswith("-"))


@pytest.mark.parametrize("sort", SORTS)
def test_a_walk_sees_each_user_once_while_others_come_and_go(app: Flask, admin: Person, sort: str) -> None:
    old = add_users(app, 25, days_ago=1)
    passing = add_users(app, 4, days_ago=2)

    def change() -> None:
        add_users(app, 3)
        if passing:
            erase_user(app, passing.pop())

    seen = ids_on(pages(admin, change, limit=7, sort=sort))
    assert len(seen) == len(set(seen))
    assert {*old, admin.id} <= set(seen)


def test_a_cursor_outlives_the_user_whom_it_stands_at(app: Flask, admin: Person) -> None:
    people = add_users(app, 6, days_ago=1)
    first = admin.call("GET", f"{LIST}?limit=3&sort=created_at").get_json()
    erase_user(app, first["items"][-1]["id"])
    rest = admin.call("GET", f"{LIST}?limit=9&sort=created_at&cursor={first['next_cursor']}").get_json()
    assert [item["id"] for item in rest["items"]] == [*sorted(people)[3:], admin.id]


def test_the_newest_come_first_unless_told_otherwise(app: Flask, admin: Person) -> None:
    add_users(app, 5, days_ago=1)
    assert admin.call("GET", LIST).get_json() == admin.call("GET", f"{LIST}?sort=-created_at").get_json()
    assert admin.call("GET", LIST).get_json()["items"][0]["id"] == admin.id


def test_a_page_has_fifty_users_unless_told_otherwise(app: Flask, admin: Person) -> None:
    add_users(app, 50)
    assert [len(answer.get_json()["items"]) for answer in pages(admin)] == [50, 1]


def test_the_last_page_has_no_next_one(app: Flask, admin: Person) -> None:
    add_users(app, 6)
    for answer in pages(admin, limit=7):
        assert answer.get_json()["next_cursor"] is None
        assert "Link" not in answer.headers


def test_the_link_leads_where_the_cursor_leads(app: Flask, admin: Person) -> None:
    add_users(app, 5)
    answer = admin.call("GET", f"{LIST}?limit=2&sort=created_at")
    cursor = answer.get_json()["next_cursor"]
    link = f"https://id.example.com/v1/users?limit=2&sort=created_at&cursor={cursor}"
    assert answer.headers["Link"] == f'<{link}>; rel="next"'


def test_the_link_is_of_the_service_whatever_host_was_named(app: Flask, admin: Person) -> None:
    add_users(app, 3)
    answer = admin.call("GET", f"{LIST}?limit=1", Host="evil.example")
    assert answer.headers["Link"].startswith("<https://id.example.com/v1/users?")


@pytest.mark.parametrize("limit", ["1", "200"])
def test_a_limit_may_be(admin: Person, limit: str) -> None:
    assert admin.call("GET", f"{LIST}?limit={limit}").status_code == 200


def test_a_limit_may_not_be(admin: Person) -> None:
    for limit in ("0", "-1", "201", "999999999999999999"):
        assert refusal(admin.call("GET", f"{LIST}?limit={limit}")) == [("limit", "out_of_range")]
    for limit in ("1e2", "x", "5.0", "", "%20", "+5", "5%20", "0x5", "\u0665", "1_0", "9" * 400, "null"):
        assert refusal(admin.call("GET", f"{LIST}?limit={limit}")) == [("limit", "invalid_type")]


def test_every_unfit_parameter_is_named(admin: Person) -> None:
    refused = admin.call("GET", f"{LIST}?limit=0&sort=password_hash&cursor=&colour=red")
    assert sorted(refusal(refused)) == [
        ("colour", "unknown_member"),
        ("cursor", "too_short"),
        ("limit", "out_of_range"),
        ("sort", "not_one_of"),
    ]


def test_a_parameter_given_twice_is_refused(admin: Person) -> None:
    assert refusal(admin.call("GET", f"{LIST}?limit=1&limit=2")) == [("limit", "repeated")]


def test_the_list_is_sorted_by_nothing_hidden(admin: Person) -> None:
    for sort in ("password_hash", "id", "email", "-", "created_at,id", "CREATED_AT", "created_at;--"):
        assert refusal(admin.call("GET", f"{LIST}?sort={sort}")) == [("sort", "not_one_of")]


def test_sql_in_a_parameter_is_only_text(admin: Person) -> None:
    for text in ("' OR 1=1 --", "1; DROP TABLE users", "%27%29%20UNION%20SELECT%201--", "\\x00", "\u00e9"):
        for name in ("limit", "cursor", "sort", "status", text):
            assert admin.call("GET", f"{LIST}?{name}={text}").status_code == 422
    assert admin.call("GET", LIST).status_code == 200


def test_an_unknown_parameter_of_any_name_is_named(admin: Person) -> None:
    for name in ("%00", "%1b", "%0a", "%e2%80%ae", "%7f"):
        assert [code for _, code in refusal(admin.call("GET", f"{LIST}?{name}=1"))] == ["unknown_member"]


def test_no_character_of_a_cursor_can_be_changed(app: Flask, admin: Person) -> None:
    add_users(app, 3)
    cursor = first_cursor(admin)
    for place, character in enumerate(cursor):
        other = BASE64URL[(BASE64URL.find(character) + 1) % 64]
        forged = f"{cursor[:place]}{other}{cursor[place + 1 :]}"
        assert refusal(admin.call("GET", f"{LIST}?cursor={forged}")) == [("cursor", "invalid_cursor")], place


def test_nothing_can_be_added_to_a_cursor_or_taken_away(app: Flask, admin: Person) -> None:
    add_users(app, 3)
    cursor = first_cursor(admin)
    for forged in (
        cursor[:-1],
        cursor[1:],
        f"{cursor}A",
        f"{cursor}=",
        f"{cursor}.",
        f".{cursor}",
        "e30",
        "x.y",
    ):
        assert refusal(admin.call("GET", f"{LIST}?cursor={forged}")) == [("cursor", "invalid_cursor")]


def test_a_cursor_is_good_for_its_own_order_only(app: Flask, admin: Person) -> None:
    add_users(app, 3)
    cursor = first_cursor(admin, sort="created_at")
    refused = admin.call("GET", f"{LIST}?sort=-created_at&cursor={cursor}")
    assert refusal(refused) == [("cursor", "invalid_cursor")]


def test_a_cursor_of_another_list_is_none_of_this(mina: Person, admin: Person) -> None:
    mina.sign_in()
    of_sessions = mina.call("GET", "/v1/users/me/sessions?limit=1").get_json()["next_cursor"]
    assert refusal(admin.call("GET", f"{LIST}?cursor={of_sessions}")) == [("cursor", "invalid_cursor")]


def test_a_cursor_of_another_secret_is_refused(make_isolated: MakeApp) -> None:
    app = make_isolated()
    admin = new_person(app, admin=True)
    add_users(app, 3)
    foreign = new_person(make_isolated(SECRET_KEY="b7d1f3a5c9e8d2b4f6a08c1e3d5b7f9a"), admin=True)
    refused = admin.call("GET", f"{LIST}?cursor={first_cursor(foreign)}")
    assert refusal(refused) == [("cursor", "invalid_cursor")]


def test_a_cursor_outlives_the_rotation_of_the_secret(
    app: Flask, make_app: MakeApp, admin: Person, environ: dict[str, str]
) -> None:
    people = add_users(app, 3, days_ago=1)
    old = environ["TESSERA_SECRET_KEY"]
    rotated = client_of(make_app(SECRET_KEY=f"b7d1f3a5c9e8d2b4f6a08c1e3d5b7f9a,{old}"))
    answer = rotated.get(LIST, query_string={"cursor": first_cursor(admin)}, headers=admin.bearer)
    assert {item["id"] for item in answer.get_json()["items"]} == set(people)


def test_a_page_costs_two_queries(app: Flask, admin: Person) -> None:
    with statements(app) as seen:
        admin.call("GET", LIST)
    assert len(seen) == 2  # who calls, and the page


def test_a_deleted_user_is_still_listed(admin: Person, mina: Person) -> None:
    mina.call("DELETE", "/v1/users/me")
    found = {item["id"]: item["status"] for item in admin.call("GET", LIST).get_json()["items"]}
    assert found[mina.id] == "deleted"
