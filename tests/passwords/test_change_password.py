"""Changing a password: by who knows the current one, or by an administrator; others are signed out."""

import json
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from api.sessions.endings import SessionsEnded
from tests.conftest import MakeApp
from tests.support.clients import PASSWORD, ContractClient, Person, client_of, new_person
from tests.support.watching import (
    Counted,
    CountingHasher,
    connections_in_use,
    in_parallel,
    listening,
    session_row,
    user_row,
)

ME = "/v1/users/me"
MINE = f"{ME}/password"
NEW = "another horse battery staple"
WRONG = "not the password"
ANEW = {"current_password": None, "new_password": NEW}  # as an administrator changes it
FRESH = 300  # seconds


def change(person: Person, new: Any = NEW, current: Any = PASSWORD, path: str = MINE) -> TestResponse:
    return person.call("PUT", path, {"current_password": current, "new_password": new})


def of(person: Person) -> str:
    return f"/v1/users/{person.id}/password"


def sign_in(person: Person, password: str) -> int:
    body = {"identifier": person.user["username"], "password": password}
    return person.client.post("/v1/sessions", json=body).status_code


def on(person: Person, tokens: dict[str, Any]) -> Person:
    """Return the person as they are on another device."""
    return Person(person.client, person.user, tokens)


def use(person: Person) -> int:
    return person.call("GET", ME).status_code


def refusal(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


def errors(answer: TestResponse) -> set[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return {(error["pointer"], error["code"]) for error in answer.get_json()["errors"]}


@pytest.fixture
def counted(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """What the app's hasher does from now on."""
    hasher = CountingHasher(app, tmp_path)
    monkeypatch.setitem(app.extensions, "tessera.hasher", hasher)
    return hasher.counted


# One's own


def test_a_changed_password_signs_in_and_the_old_one_does_not(mina: Person) -> None:
    answer = change(mina)
    assert (answer.status_code, answer.data) == (204, b"")
    assert [sign_in(mina, NEW), sign_in(mina, PASSWORD)] == [201, 401]


def test_a_wrong_current_password_changes_nothing(app: Flask, mina: Person) -> None:
    other = on(mina, mina.sign_in())
    before = user_row(app, mina.id)
    assert refusal(change(mina, current=WRONG)) == (403, "wrong_password")
    assert user_row(app, mina.id).password_hash == before.password_hash
    assert user_row(app, mina.id).password_changed_at == before.password_changed_at
    assert [use(mina), use(other), sign_in(mina, NEW)] == [200, 200, 401]


def test_the_current_password_of_somebody_else_does_not_help(mina: Person, ken: Person) -> None:
    change(ken)
    assert refusal(change(mina, new=NEW, current=NEW)) == (403, "wrong_password")


def test_ones_own_is_not_changed_without_the_current_one(mina: Person, admin: Person) -> None:
    absent: list[tuple[dict[str, Any], str]] = [
        ({}, "required"),
        ({"current_password": None}, "null_not_allowed"),
    ]
    for person in (mina, admin):
        for path, (body, code) in product((MINE, of(person)), absent):
            answer = person.call("PUT", path, body | {"new_password": NEW})
            assert errors(answer) == {("/current_password", code)}
        assert sign_in(person, PASSWORD) == 201


def test_all_that_is_unfit_is_told_at_once(mina: Person) -> None:
    body = {"current_password": 7, "new_password": "short", "password": NEW}
    assert errors(mina.call("PUT", MINE, body)) == {
        ("/current_password", "invalid_type"),
        ("/new_password", "too_short"),
        ("/password", "unknown_member"),
    }


def test_a_missing_current_password_is_told_together_with_an_unfit_new_one(mina: Person) -> None:
    pointers = {pointer for pointer, _ in errors(mina.call("PUT", MINE, {"new_password": "short"}))}
    assert pointers == {"/current_password", "/new_password"}


def test_a_new_password_must_be_fit(mina: Person) -> None:
    for unfit, code in (
        ("", "too_short"),
        ("1234567", "too_short"),
        ("\U0001f44d" * 7, "too_short"),
        ("e\u0301" * 7, "too_short"),  # seven once composed
        ("x" * 1025, "too_long"),
        ("\U0001f44d" * 257, "too_long"),  # 1,028 bytes
        ("pass\x00word", "invalid_characters"),
        ("password\ud800", "invalid_characters"),
        (None, "null_not_allowed"),
        (12345678, "invalid_type"),
        (["password"], "invalid_type"),
    ):
        body = json.dumps({"current_password": PASSWORD, "new_password": unfit})
        answer = mina.client.put(MINE, data=body, content_type="application/json", headers=mina.bearer)
        assert errors(answer) == {("/new_password", code)}, ascii(unfit)[:20]
    assert sign_in(mina, PASSWORD) == 201


def test_a_new_password_is_required(mina: Person) -> None:
    answer = mina.call("PUT", MINE, {"current_password": PASSWORD})
    assert errors(answer) == {("/new_password", "required")}


def test_a_new_password_may_be_long_and_of_any_characters(mina: Person) -> None:
    current = PASSWORD
    for fit in ("\U0001f44d" * 8, "x" * 1024, "  with spaces  ", "p\u00e4ssw\u00f6rt\u2028", "\x7f" * 8):
        assert change(mina, fit, current).status_code == 204, ascii(fit)[:20]
        current = fit
    assert sign_in(mina, current) == 201


def test_no_part_of_a_long_password_is_cut(mina: Person) -> None:
    assert change(mina, "x" * 72 + "a").status_code == 204
    assert [sign_in(mina, "x" * 72 + end) for end in ("b", "", "a")] == [401, 401, 201]


def test_a_new_password_is_compared_as_at_sign_up(mina: Person) -> None:
    assert change(mina, "cr\u00e8me br\u00fbl\u00e9e").status_code == 204
    assert sign_in(mina, "cre\u0300me\u00a0bru\u0302le\u0301e") == 201
    assert sign_in(mina, "CR\u00c8ME BR\u00dbL\u00c9E") == 401


def test_the_current_password_is_compared_as_at_a_sign_in(app: Flask) -> None:
    person = new_person(app)
    change(person, "cr\u00e8me br\u00fbl\u00e9e")
    assert change(person, NEW, current="cre\u0300me\u00a0bru\u0302le\u0301e").status_code == 204


def test_the_same_password_again_is_a_change(app: Flask, mina: Person) -> None:
    before = user_row(app, mina.id).password_hash
    assert change(mina, new=PASSWORD).status_code == 204
    assert user_row(app, mina.id).password_hash != before


def test_the_entity_tag_does_not_change(mina: Person) -> None:
    before = mina.call("GET", ME)
    change(mina)
    after = mina.call("GET", ME)
    assert (after.headers["ETag"], after.get_json()) == (before.headers["ETag"], before.get_json())


def test_a_sign_in_that_is_not_fresh_changes_none(mina: Person) -> None:
    with time_machine.travel(mina.tokens["session"]["created_at"], tick=False) as clock:
        clock.shift(FRESH + 1)
        assert refusal(change(mina)) == (401, "reauthentication_required")
    assert sign_in(mina, PASSWORD) == 201


def test_whoever_is_not_signed_in_changes_none(client: ContractClient, mina: Person) -> None:
    answer = client.put(of(mina), json={"current_password": PASSWORD, "new_password": NEW})
    assert refusal(answer) == (401, "authentication_required")


# Sessions


def test_other_sessions_end_and_the_one_that_changed_it_lives(app: Flask, mina: Person) -> None:
    others = [on(mina, mina.sign_in()) for _ in range(2)]
    change(mina)
    assert [use(mina), *(use(other) for other in others)] == [200, 401, 401]
    for other in others:
        assert refusal(other.refresh()) == (401, "session_ended")
        assert session_row(app, other.tokens["session"]["id"]).ended_because == "password_changed"
    assert mina.refresh().status_code == 200


def test_the_sessions_of_others_live(mina: Person, ken: Person) -> None:
    change(mina)
    assert [use(ken), ken.refresh().status_code] == [200, 200]


def test_sessions_and_password_change_together_or_not_at_all(app: Flask, mina: Person) -> None:
    def fail(_: SessionsEnded) -> None:
        raise RuntimeError("a listener that fails")

    other = on(mina, mina.sign_in())
    body = {"current_password": PASSWORD, "new_password": NEW}
    with listening(app, (SessionsEnded, fail)):
        assert app.test_client().put(MINE, json=body, headers=mina.bearer).status_code == 500
    assert [use(other), sign_in(mina, PASSWORD), sign_in(mina, NEW)] == [200, 201, 401]


def test_of_parallel_changes_of_one_password_one_is_made(app: Flask, mina: Person) -> None:
    def act(number: int) -> int:
        return change(Person(client_of(app), mina.user, mina.tokens), f"{NEW} {number}").status_code

    answers = in_parallel(4, act)
    assert sorted(answers) == [204, 403, 403, 403]
    assert [sign_in(mina, f"{NEW} {number}") for number in range(4)].count(201) == 1
    assert sign_in(mina, f"{NEW} {answers.index(204)}") == 201


# Administrators


def test_an_administrator_sets_anothers_without_the_current_one(admin: Person, mina: Person) -> None:
    assert admin.call("PUT", of(mina), ANEW).status_code == 204
    assert [sign_in(mina, NEW), sign_in(mina, PASSWORD)] == [201, 401]


def test_an_administrator_who_gives_a_current_one_must_give_the_right_one(
    admin: Person, mina: Person
) -> None:
    assert refusal(change(admin, current=WRONG, path=of(mina))) == (403, "wrong_password")
    assert sign_in(mina, NEW) == 401
    assert change(admin, path=of(mina)).status_code == 204


def test_an_administrators_change_ends_all_sessions_of_the_user(admin: Person, mina: Person) -> None:
    other = on(mina, mina.sign_in())
    second = on(admin, admin.sign_in())
    admin.call("PUT", of(mina), ANEW)
    assert [use(mina), use(other), use(admin), use(second)] == [401, 401, 200, 200]


def test_nobody_elses_is_changed_and_nobody_is_told_who_is_there(mina: Person, ken: Person) -> None:
    answers = [change(mina, path=path) for path in (of(ken), f"/v1/users/{uuid4()}/password")] + [
        mina.call("PUT", of(ken), ANEW)
    ]
    assert {refusal(answer) for answer in answers} == {(404, "not_found")}
    assert sign_in(ken, PASSWORD) == 201


def test_an_administrator_finds_nobody_where_nobody_is(admin: Person, mina: Person) -> None:
    mina.call("DELETE", ME)
    for path in (of(mina), f"/v1/users/{uuid4()}/password"):
        assert refusal(admin.call("PUT", path, ANEW)) == (404, "not_found")


# Cost, and what is shown


def test_a_change_costs_two_hashes(mina: Person, counted: Counted) -> None:
    change(mina)
    assert (counted.verified, counted.hashed) == (1, 1)


def test_a_refused_change_costs_one_hash(mina: Person, counted: Counted) -> None:
    change(mina, current=WRONG)
    assert (counted.verified, counted.hashed) == (1, 0)


def test_an_unfit_change_costs_none(mina: Person, ken: Person, counted: Counted) -> None:
    change(mina, new="short")
    change(mina, current=None)
    change(mina, path=of(ken))
    assert counted.total == 0


def test_an_administrators_change_costs_one_hash(admin: Person, mina: Person, counted: Counted) -> None:
    admin.call("PUT", of(mina), ANEW)
    assert (counted.verified, counted.hashed) == (0, 1)


def test_no_connection_is_held_while_a_password_is_hashed(app: Flask, mina: Person, counted: Counted) -> None:
    change(mina)
    assert counted.connections == [0, 0]
    assert connections_in_use(app) == 0


def test_no_password_is_in_an_answer_or_in_the_log(mina: Person, capfd: pytest.CaptureFixture[str]) -> None:
    answers = [change(mina, current=WRONG), change(mina, new="short-1"), change(mina)]
    logged = capfd.readouterr().err
    assert logged.count('"operation":"changePassword"') == 3
    for password in (PASSWORD, NEW, WRONG, "short-1"):
        assert password not in logged
        assert all(password not in answer.text for answer in answers)


def test_the_feature_off_leaves_no_route(make_app: MakeApp, mina: Person) -> None:
    for off in ("-passwords", "-sessions,-passwords,-notices,-emails"):
        client = client_of(make_app(FEATURES=off))
        body = {"current_password": PASSWORD, "new_password": NEW}
        assert client.put(MINE, json=body, headers=mina.bearer).status_code == 404
        assert "/v1/users/{user_id}/password" not in client.get("/openapi.json").get_json()["paths"]
