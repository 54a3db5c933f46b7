"""Signing up."""

import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from api.kit import openapi, work
from api.kit.db import db
from api.kit.hashing import Hasher
from api.users.models import User
from tests.conftest import MakeApp
from tests.support import databases
from tests.support.clients import PASSWORD, ContractClient, Person, client_of, new_details, new_person
from tests.support.watching import in_parallel, user_row

KELVIN, DOTLESS_I = "\u212a", "\u0131"
NUL, LONE_SURROGATE = "\x00", "\ud800"


def errors_of(response: TestResponse) -> set[tuple[str, str]]:
    """Return the (pointer, code) of each error of a 422."""
    assert response.status_code == 422, response.text
    return {(error["pointer"], error["code"]) for error in response.get_json()["errors"]}


def pointers_of(response: TestResponse) -> set[str]:
    return {pointer for pointer, _ in errors_of(response)}


def sign_up(client: ContractClient, **more: Any) -> TestResponse:
    body = json.dumps(new_details(**more))  # the app's own JSON cannot write a lone surrogate
    return client.post("/v1/users", data=body, content_type="application/json")


def sign_in(client: ContractClient, identifier: str, password: str = PASSWORD) -> int:
    answer = client.post("/v1/sessions", json={"identifier": identifier, "password": password})
    return answer.status_code


def test_a_person_signs_up(client: ContractClient) -> None:
    details = new_details(display_name="Mina Kim", locale="ko-KR", metadata={"theme": "dark"})
    response = client.post("/v1/users", json=details)
    user = response.get_json()
    assert response.status_code == 201
    assert response.headers["Location"] == f"https://id.example.com/v1/users/{user['id']}"
    assert {name: user[name] for name in details if name != "password"} == {
        name: value for name, value in details.items() if name != "password"
    }
    assert user["status"] == "active"
    assert user["roles"] == []
    assert user["email_verified"] is False
    assert user["last_seen_at"] is None


@pytest.mark.parametrize(
    ("held", "tried"),
    [
        ("Mina", "mina"),
        ("mina", "MINA"),
        ("zo\u00eb", "zoe\u0308"),
        ("ZOE\u0308", "zo\u00eb"),
        ("mina", "\uff4d\uff49\uff4e\uff41"),
        ("mina", "\uff2dina"),
        ("stra\u00dfe", "STRA\u1e9eE"),
        ("\u0130stanbul", "i\u0307stanbul"),
    ],
)
def test_a_username_is_taken_in_every_spelling(client: ContractClient, held: str, tried: str) -> None:
    assert sign_up(client, username=held).status_code == 201
    refused = sign_up(client, username=tried)
    assert (refused.status_code, refused.get_json()["code"]) == (409, "username_taken")


def test_the_kelvin_sign_makes_no_second_ken(client: ContractClient) -> None:
    assert sign_up(client, username="ken").status_code == 201
    assert sign_up(client, username=f"{KELVIN}en").status_code in (409, 422)


@pytest.mark.parametrize(
    ("one", "other"),
    [("stra\u00dfe", "strasse"), ("zoe", "zo\u00eb"), ("mina", "mina."), ("mina", "m.ina")],
)
def test_names_that_differ_after_normalisation_are_two(client: ContractClient, one: str, other: str) -> None:
    assert sign_up(client, username=one).status_code == 201
    assert sign_up(client, username=other).status_code == 201


@pytest.mark.parametrize(
    ("held", "tried"),
    [
        ("Mina@example.com", "mINA@example.com"),
        ("mina@example.com", "mina@EXAMPLE.Com"),
        ("mina@b\u00fccher.example", "mina@xn--bcher-kva.example"),
        ("mina@xn--bcher-kva.example", "MINA@B\u00dcCHER.example"),
        ("mina@b\u00fccher.example", "mina@bu\u0308cher.example"),
        ("zo\u00eb@example.com", "ZOE\u0308@example.com"),
        ("stra\u00dfe@example.com", "STRASSE@example.com"),
        ("ken@example.com", f"{KELVIN}en@example.com"),
    ],
)
def test_an_address_is_taken_in_every_spelling(client: ContractClient, held: str, tried: str) -> None:
    assert sign_up(client, email=held).status_code == 201
    refused = sign_up(client, email=tried)
    assert (refused.status_code, refused.get_json()["code"]) == (409, "email_taken")


def test_a_full_width_domain_makes_no_second_account(client: ContractClient) -> None:
    assert sign_up(client, email="mina@example.com").status_code == 201
    assert sign_up(client, email="mina@\uff45xample.com").status_code in (409, 422)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mina@example.com", "mina+shop@example.com"),
        ("mina.kim@example.com", "minakim@example.com"),
        ("mike@example.com", f"m{DOTLESS_I}ke@example.com"),
        ("mina@example.com", "mina@mail.example.com"),
    ],
)
def test_addresses_that_only_look_alike_are_two(client: ContractClient, one: str, other: str) -> None:
    assert sign_up(client, email=one).status_code == 201
    assert sign_up(client, email=other).status_code == 201


def test_an_address_of_an_international_domain_is_shown_as_it_is_read(client: ContractClient) -> None:
    made = sign_up(client, email="mina@XN--BCHER-KVA.example")
    assert made.get_json()["email"] == "mina@b\u00fccher.example"


def test_both_unfit_identifiers_are_named_at_once(client: ContractClient) -> None:
    refused = sign_up(client, username="mina kim", email="mina@localhost")
    assert errors_of(refused) == {("/username", "invalid_username"), ("/email", "invalid_email")}


def test_every_error_is_named_whatever_finds_it(client: ContractClient) -> None:
    refused = sign_up(client, username="mina kim", email="mina@localhost", password="short", locale=7)
    assert pointers_of(refused) == {"/username", "/email", "/password", "/locale"}


def test_an_error_is_named_once_however_many_services_a_process_made(make_app: MakeApp) -> None:
    make_app()
    refused = sign_up(client_of(make_app()), username="mina kim")
    assert [error["code"] for error in refused.get_json()["errors"]] == ["invalid_username"]


def test_a_sign_up_without_anything_names_all_that_is_missing(client: ContractClient) -> None:
    refused = client.post("/v1/users", json={})
    missing = {("/username", "required"), ("/email", "required"), ("/password", "required")}
    assert errors_of(refused) == missing


@pytest.mark.parametrize(
    "username",
    [
        "m",
        "a" * 80,
        "\u00e9" * 80,
        "mina.kim_2-x",
        "\u7f8e\u5948",
        "\u0634\u0645\u0633",
        "\u043c\u0438\u043d",
    ],
    ids=ascii,
)
def test_a_username_may_be(client: ContractClient, username: str) -> None:
    made = sign_up(client, username=username)
    assert (made.status_code, made.get_json()["username"]) == (201, username)


@databases.ON_SQLITE
@pytest.mark.parametrize(
    ("username", "code"),
    [
        ("", "too_short"),
        ("a" * 81, "too_long"),
        ("\u0958" * 80, "too_long"),  # two code points each in NFC
        ("mina@example", "invalid_username"),
        ("mina\uff20example", "invalid_username"),
        ("mina kim", "invalid_username"),
        (" mina", "invalid_username"),
        ("mina\u00a0kim", "invalid_username"),
        ("mina\u3000kim", "invalid_username"),
        ("mina\t", "invalid_characters"),
        ("mina\r\nkim", "invalid_characters"),
        ("mina\x7f", "invalid_characters"),
        (f"mina{NUL}", "invalid_characters"),
        (f"mina{LONE_SURROGATE}", "invalid_characters"),
        ("mina\u202ekim", "invalid_characters"),
        ("mina\u2066kim", "invalid_characters"),
        ("mi\u200bna", "invalid_username"),
        ("mi\u200dna", "invalid_username"),
        ("mi\u00adna", "invalid_username"),
        ("abc\u0634\u0645\u0633", "invalid_username"),  # both directions (RFC 5893)
        ("\ufb01n", "invalid_username"),
        ("mina\U0001f44d", "invalid_username"),
        (None, "null_not_allowed"),
        (7, "invalid_type"),
        (["mina"], "invalid_type"),
        ({"mina": 1}, "invalid_type"),
    ],
    ids=ascii,
)
def test_a_username_may_not_be(client: ContractClient, username: Any, code: str) -> None:
    assert errors_of(sign_up(client, username=username)) == {("/username", code)}


DOMAIN_189 = f"{'b' * 63}.{'c' * 63}.{'d' * 57}.com"


@pytest.mark.parametrize(
    "email",
    [
        "m@example.com",
        "mina+tag@example.com",
        "mina.kim@example.co.uk",
        "o'hara@example.com",
        "\u043c\u0438\u043d\u0430@\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444",
        f"{'a' * 64}@example.com",
        f"{'a' * 64}@{DOMAIN_189}",
    ],
    ids=ascii,
)
def test_an_address_may_be(client: ContractClient, email: str) -> None:
    made = sign_up(client, email=email)
    assert (made.status_code, made.get_json()["email"]) == (201, email)


@databases.ON_SQLITE
@pytest.mark.parametrize(
    "email",
    [
        "",
        "@",
        "mina",
        "mina@",
        "@example.com",
        "mina@localhost",
        "mina@example..com",
        "mina@.example.com",
        ".mina@example.com",
        "mina.@example.com",
        "mi..na@example.com",
        "mina@-example.com",
        "mina@exa_mple.com",
        "mina@[127.0.0.1]",
        "mina@[IPv6:::1]",
        '"mina kim"@example.com',
        '"mina"@example.com',
        "mina(comment)@example.com",
        "Mina <mina@example.com>",
        "mina@example.com,ken@example.com",
        "mina@example.com;ken@example.com",
        "mina@example.com ken@example.com",
        "mina@ken@example.com",
        " mina@example.com",
        "mina@example.com ",
        "mi na@example.com",
        "mina@example.com\r\nBcc: ken@example.com",
        f"mina{NUL}@example.com",
        f"mina{LONE_SURROGATE}@example.com",
        "mi\u202ena@example.com",
        "mi\u200bna@example.com",
        "mina@exa\u200bmple.com",
        "mina\uff20example.com",
        "mina\ufe6bexample.com",
        "mina@xn--a.com",
        f"{'a' * 64}@b{DOMAIN_189}",
        f"mina@{'b' * 64}.com",
        None,
        7,
        ["mina@example.com", "ken@example.com"],
        {"mina@example.com": "ken@example.com"},
    ],
    ids=ascii,
)
def test_an_address_may_not_be(client: ContractClient, email: Any) -> None:
    assert pointers_of(sign_up(client, email=email)) == {"/email"}


def test_a_local_part_over_64_octets_is_no_address(client: ContractClient) -> None:
    """RFC 5321 section 4.5.3.1.1: no mail could ever reach it."""
    assert pointers_of(sign_up(client, email=f"{'a' * 65}@example.com")) == {"/email"}


@databases.ON_SQLITE
@pytest.mark.parametrize("invisible", ["\ufe0f", "\u034f", "\u2060", "\ufeff", "\u180b"], ids=ascii)
def test_an_invisible_character_makes_no_address(client: ContractClient, invisible: str) -> None:
    assert pointers_of(sign_up(client, email=f"mi{invisible}na@example.com")) == {"/email"}


@databases.ON_SQLITE
@pytest.mark.parametrize("dot", ["\uff0e", "\u3002", "\uff61"], ids=ascii)
def test_a_full_width_dot_makes_no_address(client: ContractClient, dot: str) -> None:
    assert pointers_of(sign_up(client, email=f"mina@example{dot}com")) == {"/email"}


def test_a_member_that_clients_may_not_set_is_refused(client: ContractClient) -> None:
    hostile = {
        "id": "0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10",
        "roles": ["admin"],
        "is_admin": True,
        "status": "active",
        "email_verified": True,
        "app_metadata": {"plan": "gold"},
        "password_hash": "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ",
        "created_at": "2026-01-01T00:00:00Z",
        "user_metadata": {},
        "version": 7,
    }
    assert errors_of(sign_up(client, **hostile)) == {(f"/{name}", "unknown_member") for name in hostile}


@databases.ON_SQLITE
@pytest.mark.parametrize("name", ["", "a/b~c", "\u7f8e", NUL, "\n", "\u202e", LONE_SURROGATE], ids=ascii)
def test_an_unknown_member_of_any_name_is_named(client: ContractClient, name: str) -> None:
    assert [code for _, code in errors_of(sign_up(client, **{name: 1}))] == ["unknown_member"]


@databases.ON_SQLITE
@pytest.mark.parametrize(
    "password",
    [
        "hjqzkwvy",
        "27185392",
        "all lower case and so",
        "\U0001f44d" * 8,
        " " * 8,
        "correct horse battery staple",
        "\ubbf8\ub098\uc758 \ube44\ubc00\ubc88\ud638",
        "\ufb01\u2460" * 4,
        "a" * 64,
        "a" * 1024,
        "\u00e9" * 512,
        "\U0001f44d" * 256,
    ],
    ids=lambda password: ascii(password)[:30],
)
def test_a_password_may_be(client: ContractClient, password: str) -> None:
    assert sign_up(client, password=password).status_code == 201


@databases.ON_SQLITE
@pytest.mark.parametrize(
    "password",
    ["\U0001f469\u200d\U0001f680" * 4, "\u2764\ufe0f" * 8, "\u1100\u1161" * 8, "\U0001fae9" * 8],
    ids=ascii,
)
def test_a_password_may_have_any_emoji_and_letter_that_a_keyboard_gives(
    client: ContractClient, password: str
) -> None:
    assert sign_up(client, password=password).status_code == 201


@databases.ON_SQLITE
@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("", "too_short"),
        ("a" * 7, "too_short"),
        ("\U0001f44d" * 7, "too_short"),
        ("a" * 1025, "too_long"),
        ("\u00e9" * 513, "too_long"),
        ("\U0001f44d" * 257, "too_long"),
        (f"pass{NUL}word", "invalid_characters"),
        (f"password{LONE_SURROGATE}", "invalid_characters"),
        (None, "null_not_allowed"),
        (12345678, "invalid_type"),
        (True, "invalid_type"),
        ([], "invalid_type"),
        ({}, "invalid_type"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_password_may_not_be(client: ContractClient, password: Any, code: str) -> None:
    assert errors_of(sign_up(client, password=password)) == {("/password", code)}


def test_the_contract_refuses_the_password_that_cannot_be_kept(client: ContractClient) -> None:
    schemas = client.get("/openapi.json").get_json()["components"]["schemas"]
    pattern = schemas["UserCreate"]["properties"]["password"]["pattern"]
    assert re.search(pattern, "correct horse\nbattery staple")
    assert not re.search(pattern, f"correct horse{NUL}battery staple")


def test_a_password_is_measured_after_normalisation(client: ContractClient) -> None:
    assert errors_of(sign_up(client, password="e\u0301" * 4)) == {("/password", "too_short")}


@databases.ON_SQLITE
@pytest.mark.parametrize(
    ("chosen", "typed"),
    [
        ("pre\u0301fe\u0301re\u0301e", "pr\u00e9f\u00e9r\u00e9e"),
        ("pr\u00e9f\u00e9r\u00e9 \u00c5", "pre\u0301fe\u0301re\u0301 A\u030a"),
        ("pass\u00a0word", "pass word"),
        ("pass\u3000word", "pass word"),
    ],
    ids=ascii,
)
def test_a_password_opens_in_another_unicode_form(client: ContractClient, chosen: str, typed: str) -> None:
    user = sign_up(client, password=chosen).get_json()
    assert sign_in(client, user["username"], typed) == 201


@databases.ON_SQLITE
@pytest.mark.parametrize(
    ("chosen", "typed"),
    [
        ("b" * 72 + "1", "b" * 72 + "2"),
        ("b" * 1023 + "1", "b" * 1023 + "2"),
        (" password ", "password"),
        ("pass  word", "pass word"),
        ("Some words", "some words"),
        ("\ufb01nal word", "final word"),
        ("\u2460 password", "1 password"),
        ("stra\u00dfe 12", "strasse 12"),
    ],
    ids=lambda value: ascii(value)[-20:],
)
def test_every_character_of_a_password_counts(client: ContractClient, chosen: str, typed: str) -> None:
    user = sign_up(client, password=chosen).get_json()
    assert sign_in(client, user["username"], typed) == 401


def of_size(size: int, filler: str = "x") -> dict[str, Any]:
    """Return metadata of so many bytes, written without spaces."""
    return {"a": filler * ((size - 8) // len(filler.encode()))}


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"": ""},
        {"a": None},
        {"a": {"b": [{"c": [1, 2.5, True, None, "\u20ac"]}]}},
        {"slash/tilde~": "\\u0000"},
        of_size(16384),
        of_size(16384, "\u00e9"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_metadata_is_kept_as_it_was_sent(client: ContractClient, metadata: dict[str, Any]) -> None:
    assert sign_up(client, metadata=metadata).get_json()["metadata"] == metadata


@databases.ON_SQLITE
@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        (of_size(16385), "too_long"),
        (of_size(16386, "\u00e9"), "too_long"),
        ({"a": f"{NUL}"}, "invalid_characters"),
        ({f"{NUL}": "a"}, "invalid_characters"),
        ({"a": [{"b": f"{NUL}"}]}, "invalid_characters"),
        ({"a": [{"b": f"{LONE_SURROGATE}"}]}, "invalid_characters"),
        (None, "null_not_allowed"),
        ([], "invalid_type"),
        ("{}", "invalid_type"),
        (1, "invalid_type"),
        (True, "invalid_type"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_metadata_may_not_be(client: ContractClient, metadata: Any, code: str) -> None:
    assert errors_of(sign_up(client, metadata=metadata)) == {("/metadata", code)}


@pytest.mark.parametrize("name", ["display_name", "locale"])
def test_what_is_optional_may_be_null(client: ContractClient, name: str) -> None:
    assert sign_up(client, **{name: None}).get_json()[name] is None


def test_where_sign_up_is_closed_nobody_is_asked_who_they_are(make_app: MakeApp) -> None:
    refused = sign_up(client_of(make_app(SIGN_UP="closed")))
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_where_sign_up_is_closed_a_user_signs_nobody_up(make_app: MakeApp, mina: Person) -> None:
    closed = client_of(make_app(SIGN_UP="closed"))
    assert closed.post("/v1/users", json=new_details(), headers=mina.bearer).status_code == 403


def test_where_sign_up_is_closed_an_administrator_signs_people_up(make_app: MakeApp, admin: Person) -> None:
    closed = client_of(make_app(SIGN_UP="closed"))
    assert closed.post("/v1/users", json=new_details(), headers=admin.bearer).status_code == 201


@pytest.mark.parametrize(("needed", "optional"), [("email", "username"), ("username", "email")])
def test_one_identifier_is_enough_where_the_settings_say_so(
    make_app: MakeApp, needed: str, optional: str
) -> None:
    client = client_of(make_app(IDENTIFIERS=needed))
    for _ in range(2):  # being without one is not unique
        details = new_details()
        del details[optional]
        made = client.post("/v1/users", json=details)
        assert (made.status_code, made.get_json()[optional]) == (201, None)
        assert sign_in(client, details[needed]) == 201


@pytest.mark.parametrize("needed", ["email", "username"])
def test_the_needed_identifier_is_still_needed(make_app: MakeApp, needed: str) -> None:
    details = new_details()
    del details[needed]
    refused = client_of(make_app(IDENTIFIERS=needed)).post("/v1/users", json=details)
    assert errors_of(refused) == {(f"/{needed}", "required")}


@databases.ON_SQLITE
@pytest.mark.parametrize("needed", ["email", "username"])
def test_the_document_names_what_is_required(make_app: MakeApp, needed: str) -> None:
    document = openapi.document(make_app(IDENTIFIERS=needed).extensions["tessera"])
    assert set(document["components"]["schemas"]["UserCreate"]["required"]) == {needed, "password"}


def test_frontends_are_told_what_is_required(make_app: MakeApp) -> None:
    told = client_of(make_app(IDENTIFIERS="email")).get("/v1/config").get_json()
    assert told["settings"]["users"]["identifiers"] == ["email"]


def test_the_hash_is_argon2id_of_at_least_the_recommended_cost(make_app: MakeApp) -> None:
    """OWASP Password Storage Cheat Sheet: m=19 MiB, t=2, p=1."""
    app = make_app()
    stored = user_row(app, new_person(app).id).password_hash
    found = re.fullmatch(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=1\$([^$]+)\$[^$]+", stored)
    assert found is not None
    assert int(found[1]) >= 19456
    assert int(found[2]) >= 2
    assert len(b64decode(f"{found[3]}==")) >= 16


def test_one_password_is_never_hashed_alike(app: Flask, mina: Person, ken: Person) -> None:
    assert user_row(app, mina.id).password_hash != user_row(app, ken.id).password_hash


def test_no_answer_holds_a_password_or_a_hash(app: Flask, client: ContractClient, admin: Person) -> None:
    password = "a password that is nowhere else"
    details = new_details(password=password)
    user = client.post("/v1/users", json=details).get_json()
    credentials = {"identifier": details["username"], "password": password}
    signed_in = client.post("/v1/sessions", json=credentials)
    person = Person(client, user, signed_in.get_json())
    answers = [
        signed_in,
        client.post("/v1/users", json=details),
        client.post("/v1/users", json={**details, "username": "a b", "email": password}),
        client.post("/v1/users", json={**details, "locale": password, password: 1}),
        client.post("/v1/sessions", json={**credentials, "identifier": password}),
        person.call("GET", "/v1/users/me"),
        person.call("PATCH", "/v1/users/me", {"display_name": "Mina"}),
        person.call("GET", "/v1/users/me/sessions"),
        person.refresh(),
        admin.call("GET", "/v1/users"),
        admin.call("GET", f"/v1/users/{user['id']}"),
    ]
    hashed = user_row(app, user["id"]).password_hash
    for answer in answers:
        assert hashed not in answer.text
        assert "argon2" not in answer.text
        assert not re.search(r'"\w*(hash|password)\w*":', answer.text)
        if answer.status_code != 422:  # there a member that the client named is named again
            assert password not in answer.text


def test_the_value_of_no_member_is_sent_back(client: ContractClient) -> None:
    secret = "sent in the wrong place"
    refused = sign_up(client, username=secret, email=secret, locale=secret, metadata=secret)
    assert refused.status_code == 422
    assert secret not in refused.text


@pytest.mark.parametrize("shared", ["email", "username"])
def test_of_many_sign_ups_at_once_with_one_identifier_one_wins(
    make_app: MakeApp, tmp_path: Path, shared: str
) -> None:
    app = make_app()
    app.extensions["tessera.hasher"] = Hasher(64, 1, tmp_path, cores=8)  # a queue of 32
    value = new_details()[shared]

    def try_it(number: int) -> int:
        spelling = value.upper() if number % 2 else value
        return sign_up(client_of(app), **{shared: spelling}).status_code

    assert sorted(in_parallel(32, try_it)) == [201] + [409] * 31
    with app.app_context(), work.reading():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(User)) == 1
