"""Signing in."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import time_machine
from argon2 import extract_parameters
from flask import Flask
from werkzeug.test import TestResponse

from api.kit.hashing import Hasher
from api.kit.problems import Overloaded
from tests.conftest import MakeApp
from tests.support import databases
from tests.support.clients import PASSWORD, ContractClient, Person, client_of, new_details, new_person
from tests.support.watching import (
    Counted,
    CountingHasher,
    connections_in_use,
    crowded,
    in_parallel,
    session_row,
    set_user,
    statements,
    user_row,
)

SESSIONS = "/v1/sessions"
WRONG = "not the password"


def sign_in(client: ContractClient, identifier: str, password: str = PASSWORD, **more: Any) -> TestResponse:
    return client.post(SESSIONS, json={"identifier": identifier, "password": password, **more})


@pytest.fixture
def counted(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """What the app's hasher does from now on."""
    hasher = CountingHasher(app, tmp_path)
    monkeypatch.setitem(app.extensions, "tessera.hasher", hasher)
    return hasher.counted


@pytest.mark.parametrize(
    ("username", "typed"),
    [
        ("Mina", "mINA"),
        ("zo\u00eb", "ZOE\u0308"),
        ("mina", "\uff4d\uff49\uff4e\uff41"),
        ("stra\u00dfe", "STRA\u1e9eE"),
    ],
    ids=ascii,
)
def test_a_username_signs_in_in_every_spelling(client: ContractClient, username: str, typed: str) -> None:
    client.post("/v1/users", json=new_details(username=username))
    assert sign_in(client, typed).get_json()["user"]["username"] == username


@pytest.mark.parametrize(
    ("email", "typed"),
    [
        ("Mina@Example.com", "mINA@eXAMPLE.COM"),
        ("zo\u00eb@example.com", "ZOE\u0308@example.com"),
        ("mina@b\u00fccher.example", "Mina@XN--BCHER-KVA.example"),
    ],
    ids=ascii,
)
def test_an_address_signs_in_in_every_spelling(client: ContractClient, email: str, typed: str) -> None:
    client.post("/v1/users", json=new_details(email=email))
    assert sign_in(client, typed).status_code == 201


def test_the_answer_has_what_clients_are_promised(clock: time_machine.Traveller, mina: Person) -> None:
    answer = sign_in(mina.client, mina.user["email"], device_name="Mina's phone")
    content = answer.get_json()
    assert answer.headers["Cache-Control"] == "no-store"
    assert content.keys() == {
        "session", "user", "access_token", "token_type", "expires_in", "expires_at", "refresh_token"
    }  # fmt: skip
    assert content["token_type"] == "Bearer"
    assert content["access_token"].count(".") == 2
    assert re.fullmatch(r"tsr_[\w-]{70}", content["refresh_token"])
    begin = datetime.fromisoformat(content["session"]["created_at"])
    life = (datetime.fromisoformat(content["expires_at"]) - begin).total_seconds()
    assert 855 <= content["expires_in"] <= 900  # up to 5 % shorter
    assert life == content["expires_in"]
    assert content["session"]["current"] is True
    assert content["session"]["amr"] == ["pwd"]
    assert content["user"] == mina.call("GET", "/v1/users/me").get_json()


def test_no_cookie_is_set(mina: Person) -> None:
    assert "Set-Cookie" not in sign_in(mina.client, mina.user["username"]).headers


def test_each_sign_in_is_a_session_of_its_own(mina: Person) -> None:
    one, other = mina.sign_in(), mina.sign_in()
    assert one["session"]["id"] != other["session"]["id"]
    assert one["refresh_token"] != other["refresh_token"]


def _refusals(app: Flask, people: list[Person]) -> Iterator[TestResponse]:
    """Sign in in every way that must be refused alike."""
    right, deleted, suspended = people
    deleted.call("DELETE", "/v1/users/me")
    set_user(app, suspended.id, status="suspended")
    for identifier, password in (
        (right.user["username"], WRONG),
        (right.user["email"], WRONG),
        (right.user["username"], "p"),
        (right.user["username"], "\t\ufe0f\u1160"),
        (right.user["username"], "\U0001f44d" * 1024),
        (right.user["username"], PASSWORD.upper()),
        (right.user["username"], f"{PASSWORD} "),
        ("nobody-at-all", PASSWORD),
        ("nobody@example.com", PASSWORD),
        ("no name at all", PASSWORD),
        ("no@address", PASSWORD),
        ("@", PASSWORD),
        (right.id, PASSWORD),
        (deleted.user["username"], PASSWORD),
        (deleted.user["email"], WRONG),
        (suspended.user["username"], PASSWORD),
        (suspended.user["email"], WRONG),
    ):
        yield sign_in(right.client, identifier, password)


def test_every_refusal_looks_the_same(app: Flask) -> None:
    people = [new_person(app) for _ in range(3)]
    seen = set()
    for answer in _refusals(app, people):
        headers = tuple(sorted((k, v) for k, v in answer.headers if k not in ("Date", "X-Request-Id")))
        body = answer.text.replace(answer.get_json()["request_id"], "")
        seen.add((answer.status_code, headers, body))
    assert len(seen) == 1
    [(status, _, body)] = seen
    assert status == 401
    assert '"code":"invalid_credentials"' in body


def test_every_refusal_says_who_may_come_in(mina: Person) -> None:
    assert sign_in(mina.client, mina.user["username"], WRONG).headers["WWW-Authenticate"] == "Bearer"


def test_every_refusal_costs_one_hash(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = [new_person(app) for _ in range(3)]
    hasher = CountingHasher(app, tmp_path)
    monkeypatch.setitem(app.extensions, "tessera.hasher", hasher)
    for number, _ in enumerate(_refusals(app, people), start=1):
        assert (hasher.counted.verified, hasher.counted.hashed) == (number, 0)


def test_every_refusal_costs_one_query_and_one_entry_in_the_trail(
    app: Flask, mina: Person, ken: Person
) -> None:
    ken.call("DELETE", "/v1/users/me")
    for identifier in (mina.user["username"], mina.user["email"], "nobody-at-all", ken.user["username"]):
        with statements(app) as seen:
            sign_in(mina.client, identifier, WRONG)
        assert [statement.text.split()[0] for statement in seen] == ["SELECT", "INSERT"]


def test_a_right_sign_in_costs_one_hash(mina: Person, counted: Counted) -> None:
    mina.sign_in()
    assert (counted.verified, counted.hashed) == (1, 0)


def test_a_refused_sign_in_leaves_no_trace(app: Flask, mina: Person) -> None:
    before = user_row(app, mina.id)
    sign_in(mina.client, mina.user["username"], WRONG)
    assert user_row(app, mina.id).last_seen_at == before.last_seen_at
    assert len(mina.call("GET", "/v1/users/me/sessions").get_json()["items"]) == 1


@databases.ON_SQLITE
@pytest.mark.parametrize("member", ["identifier", "password"])
@pytest.mark.parametrize("value", ["", None, 7, True, [], {}, "\x00", "x" * 1025], ids=lambda v: ascii(v)[:9])
def test_what_can_be_nobodys_is_refused_by_its_form(client: ContractClient, member: str, value: Any) -> None:
    credentials = {"identifier": "mina", "password": PASSWORD, member: value}
    answer = client.post(SESSIONS, json=credentials)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.get_json()["errors"]] == [f"/{member}"]


def test_an_outdated_hash_is_renewed_by_signing_in(app: Flask, make_app: MakeApp, mina: Person) -> None:
    assert sign_in(client_of(make_app(HASH_TIME_COST="3")), mina.user["username"]).status_code == 201
    assert extract_parameters(user_row(app, mina.id).password_hash).time_cost == 3
    assert mina.sign_in()  # the renewed one is of the same password


def test_a_wrong_password_renews_nothing(app: Flask, make_app: MakeApp, mina: Person) -> None:
    before = user_row(app, mina.id).password_hash
    assert sign_in(client_of(make_app(HASH_TIME_COST="3")), mina.user["username"], WRONG).status_code == 401
    assert user_row(app, mina.id).password_hash == before


def test_a_hash_of_today_is_left_alone(app: Flask, mina: Person) -> None:
    before = user_row(app, mina.id).password_hash
    mina.sign_in()
    assert user_row(app, mina.id).password_hash == before


def test_renewing_a_hash_changes_no_entity_tag(make_app: MakeApp, mina: Person) -> None:
    before = mina.call("GET", "/v1/users/me").headers["ETag"]
    sign_in(client_of(make_app(HASH_TIME_COST="3")), mina.user["username"])
    assert mina.call("GET", "/v1/users/me").headers["ETag"] == before


def test_who_signs_in_at_once_with_an_outdated_hash_all_come_in(
    make_app: MakeApp, mina: Person, tmp_path: Path
) -> None:
    app = make_app(HASH_TIME_COST="3")
    app.extensions["tessera.hasher"] = Hasher(19456, 3, tmp_path, cores=8)
    answers = in_parallel(8, lambda _: sign_in(client_of(app), mina.user["username"]).status_code)
    assert answers == [201] * 8


class _TooBusyToHash(CountingHasher):
    """Verifies, but has no place for a new hash."""

    def hash(self, password: str) -> str:
        raise Overloaded()


def test_a_renewal_that_fails_refuses_nobody(
    app: Flask, mina: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = _TooBusyToHash(app, tmp_path, time_cost=3)
    monkeypatch.setitem(app.extensions, "tessera.hasher", busy)
    assert mina.sign_in()


def test_a_hash_that_cannot_be_read_opens_to_nobody(app: Flask, mina: Person) -> None:
    for unreadable in ("", "!", "$argon2id$", "$argon2id$v=19$m=1,t=1,p=1$x$y", "$2b$12$abc", PASSWORD):
        set_user(app, mina.id, password_hash=unreadable)
        assert sign_in(mina.client, mina.user["username"]).status_code == 401


def test_who_signs_in_at_once_all_come_in(app: Flask, mina: Person) -> None:
    answers = in_parallel(6, lambda _: sign_in(client_of(app), mina.user["username"]).status_code)
    assert answers == [201] * 6


def test_the_device_is_kept(app: Flask, mina: Person) -> None:
    answer = mina.client.post(
        SESSIONS,
        json={"identifier": mina.user["username"], "password": PASSWORD, "device_name": "\u7f8e's phone"},
        headers={"User-Agent": "curl/8.9.1"},
        environ_base={"REMOTE_ADDR": "2001:db8::7"},
    )
    session = answer.get_json()["session"]
    found = {name: session[name] for name in ("device_name", "user_agent", "ip")}
    assert found == {"device_name": "\u7f8e's phone", "user_agent": "curl/8.9.1", "ip": "2001:db8::7"}
    assert session_row(app, session["id"]).user_agent == "curl/8.9.1"


def test_an_address_that_anybody_can_claim_is_not_kept(mina: Person) -> None:
    answer = mina.client.post(
        SESSIONS,
        json={"identifier": mina.user["username"], "password": PASSWORD},
        headers={
            "X-Forwarded-For": "203.0.113.9",
            "Forwarded": "for=203.0.113.9",
            "X-Real-IP": "203.0.113.9",
        },
    )
    assert answer.get_json()["session"]["ip"] == "127.0.0.1"


@databases.ON_SQLITE
@pytest.mark.parametrize("device_name", ["", "x" * 101, "a\nb", "a\x00", "\u202e", 7, []], ids=ascii)
def test_a_device_name_may_not_be(client: ContractClient, device_name: Any) -> None:
    answer = sign_in(client, "mina", device_name=device_name)
    assert [error["pointer"] for error in answer.get_json()["errors"]] == ["/device_name"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("", None),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("'; DROP TABLE sessions; --", "'; DROP TABLE sessions; --"),
        ("a\x00b\x7f\x1b[31m", "a?b??[31m"),
        ("caf\u00e9 \u0080", "caf? ?"),
        ("x" * 10000, "x" * 500),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_hostile_user_agent_does_no_harm(mina: Person, sent: str, kept: str | None) -> None:
    answer = mina.client.post(
        SESSIONS,
        json={"identifier": mina.user["username"], "password": PASSWORD},
        environ_overrides={"HTTP_USER_AGENT": sent},
    )
    assert answer.get_json()["session"]["user_agent"] == kept


def test_who_comes_when_too_many_wait_is_told_to_come_again(app: Flask, mina: Person) -> None:
    with crowded(app.extensions["tessera.hasher"]):
        refused = [
            sign_in(mina.client, mina.user["username"]),
            sign_in(mina.client, "nobody-at-all"),
            mina.client.post("/v1/users", json=new_details()),
        ]
    assert [(answer.status_code, answer.get_json()["code"]) for answer in refused] == [
        (503, "overloaded")
    ] * 3
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert mina.sign_in()


def test_who_is_signed_in_does_not_wait_for_those_who_sign_in(app: Flask, mina: Person) -> None:
    with crowded(app.extensions["tessera.hasher"]):
        assert mina.call("GET", "/v1/users/me").status_code == 200
        assert mina.refresh().status_code == 200


def test_no_connection_is_held_while_a_password_is_hashed(
    app: Flask, mina: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasher = CountingHasher(app, tmp_path, time_cost=3)  # so that a sign-in renews the hash as well
    monkeypatch.setitem(app.extensions, "tessera.hasher", hasher)
    mina.sign_in()
    sign_in(mina.client, "nobody-at-all")
    mina.client.post("/v1/users", json=new_details())
    assert hasher.counted.total == 4
    assert hasher.counted.connections == [0] * 4
    assert connections_in_use(app) == 0
