"""One user: reading, changing, deleting."""

from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from api.kit import work
from api.kit.db import db
from api.users.models import User
from tests.support.clients import PASSWORD, ContractClient, Person, client_of, new_details, new_person
from tests.support.watching import in_parallel, session_row, set_user, user_row

ME = "/v1/users/me"
FRESH_SECONDS = 300


def of(person: Person) -> str:
    return f"/v1/users/{person.id}"


def refusal(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.get_json()["code"]


def patch(person: Person, **changes: Any) -> dict[str, Any]:
    """Change a user as themselves, and return what came back."""
    response = person.call("PATCH", ME, changes)
    assert response.status_code == 200, response.text
    user: dict[str, Any] = response.get_json()
    return user


def test_me_is_the_caller(mina: Person) -> None:
    assert mina.call("GET", ME).get_json() == mina.user


def test_a_user_is_found_by_their_id(mina: Person) -> None:
    assert mina.call("GET", of(mina)).get_json() == mina.user


def test_an_administrator_reads_every_user(admin: Person, mina: Person) -> None:
    assert admin.call("GET", of(mina)).get_json() == mina.user


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_another_user_is_told_from_nobody_by_nothing(mina: Person, ken: Person, method: str) -> None:
    body: dict[str, str] | None = {} if method == "PATCH" else None
    others = mina.call(method, of(ken), body)
    nobodys = mina.call(method, f"/v1/users/{uuid4()}", body)
    assert refusal(others) == refusal(nobodys) == (404, "not_found")
    assert others.get_json().keys() == nobodys.get_json().keys()


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_an_administrator_finds_nobody_where_nobody_is(admin: Person, method: str) -> None:
    body: dict[str, str] | None = {} if method == "PATCH" else None
    assert admin.call(method, f"/v1/users/{uuid4()}", body).status_code == 404


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_whoever_is_not_signed_in_is_asked_to(client: ContractClient, method: str) -> None:
    answer = client.open(ME, method=method, json={} if method == "PATCH" else None)
    assert refusal(answer) == (401, "authentication_required")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_what_is_no_id_is_unfit(mina: Person) -> None:
    for user_id in ("1", "ME", "01A20434-D8FF-7400-A84B-BF73202B49AE", "me%00", "'--", "\u7f8e"):
        answer = mina.call("GET", f"/v1/users/{user_id}")
        assert refusal(answer) == (422, "validation_failed")
        assert answer.get_json()["errors"][0]["parameter"] == "user_id"


def test_what_is_absent_from_a_patch_stays(app: Flask) -> None:
    person = new_person(app, display_name="Mina Kim", locale="ko-KR", metadata={"theme": "dark"})
    changed = patch(person, locale="en")
    assert changed == person.user | {"locale": "en", "updated_at": changed["updated_at"]}


def test_null_takes_a_value_away(app: Flask) -> None:
    person = new_person(app, display_name="Mina Kim", locale="ko-KR")
    changed = patch(person, display_name=None, locale=None)
    assert (changed["display_name"], changed["locale"]) == (None, None)


# RFC 7396 appendix A, one level down, as metadata itself is always an object: (original, patch, result).
EXAMPLES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


def test_metadata_is_merged_as_rfc_7396_shows(app: Flask) -> None:
    transposed = zip(*EXAMPLES, strict=True)
    originals, changes, results = ({str(n): part for n, part in enumerate(parts)} for parts in transposed)
    person = new_person(app, metadata={**originals, "other": 1})
    assert patch(person, metadata=changes)["metadata"] == {**results, "other": 1}


def test_null_in_a_patch_takes_a_member_of_metadata_away(app: Flask) -> None:
    person = new_person(app, metadata={"it": {"a": "foo"}, "other": 1})
    assert patch(person, metadata={"it": None, "absent": None})["metadata"] == {"other": 1}


def test_null_for_all_of_metadata_empties_it(app: Flask) -> None:
    assert patch(new_person(app, metadata={"theme": "dark"}), metadata=None)["metadata"] == {}


def test_a_merge_patch_goes_by_its_own_media_type_too(mina: Person) -> None:
    for media_type in ("application/merge-patch+json", "application/json; charset=utf-8"):
        body = f'{{"display_name": "{media_type}"}}'
        answer = mina.client.patch(ME, data=body, content_type=media_type, headers=mina.bearer)
        assert answer.get_json()["display_name"] == media_type


def test_a_patch_of_another_media_type_is_refused(mina: Person) -> None:
    answer = mina.client.patch(
        ME, data=b"[]", content_type="application/json-patch+json", headers=mina.bearer
    )
    assert refusal(answer) == (415, "unsupported_media_type")


def test_metadata_comes_back_as_it_was_sent(mina: Person) -> None:
    metadata = {
        "numbers": [0, -1, 2**53 - 1, -(2**53 - 1), 0.1, 2.5, 1e-7, 5e-324, 1e16, True, False],
        "nested": {"a": {"b": {"c": [[], {}, [None]]}}},
        "texts": ["\U0001f44d", "\x01\t\n\u2028", "\\u0000", "'; DROP TABLE users; --", ""],
        "names": {"__proto__": {"x": 1}, "$where": "1", "a.b": 1, "": {"": ""}, "a/b~c": 1, "\x7f": 1},
    }
    patch(mina, metadata=metadata)
    assert mina.call("GET", ME).get_json()["metadata"] == metadata


@pytest.mark.parametrize("number", [1e19, 1e300, -1.7976931348623157e308])
def test_a_number_beyond_every_integer_comes_back_as_it_was_sent(mina: Person, number: float) -> None:
    """PostgreSQL keeps it as all its digits, which is an integer to whoever reads it again."""
    patch(mina, metadata={"number": number})
    assert mina.call("GET", ME).get_json()["metadata"]["number"] == number


def test_metadata_may_grow_to_16_kib_and_no_further(mina: Person) -> None:
    patch(mina, metadata={"a": "x" * 16368})  # 16,376 bytes
    patch(mina, metadata={"b": ""})  # 16,383 bytes
    patch(mina, metadata={"b": "x"})
    refused = mina.call("PATCH", ME, {"metadata": {"b": "xx"}, "display_name": "Mina"})
    assert refusal(refused) == (422, "validation_failed")
    assert [(e["pointer"], e["code"]) for e in refused.get_json()["errors"]] == [("/metadata", "too_long")]
    assert mina.call("GET", ME).get_json()["display_name"] is None


def test_what_nobody_may_patch_is_refused(app: Flask, admin: Person) -> None:
    hostile = dict.fromkeys(
        ("id", "roles", "is_admin", "status", "email_verified", "password", "password_hash", "created_at",
         "updated_at", "deleted_at", "version", "user_metadata", "username_key", "email_key"),
        "x",
    )  # fmt: skip
    refused = admin.call("PATCH", ME, {**hostile, "display_name": "Eve"})
    found = {(e["pointer"], e["code"]) for e in refused.get_json()["errors"]}
    assert found == {(f"/{name}", "unknown_member") for name in hostile}
    assert admin.call("GET", ME).get_json() == admin.user


def test_a_patch_that_is_no_object_is_refused(mina: Person) -> None:
    for document in (b"[]", b'"x"', b"1", b"null", b"true"):
        sent = {"data": document, "content_type": "application/json"}
        assert refusal(mina.client.patch(ME, **sent, headers=mina.bearer)) == (422, "validation_failed")


def test_an_identifier_is_not_taken_away(mina: Person) -> None:
    refused = mina.call("PATCH", ME, {"username": None, "email": None})
    found = {(e["pointer"], e["code"]) for e in refused.get_json()["errors"]}
    assert found == {("/username", "null_not_allowed"), ("/email", "null_not_allowed")}


def test_app_metadata_is_not_the_users_own_to_write(app: Flask, mina: Person) -> None:
    refused = mina.call("PATCH", ME, {"app_metadata": {"plan": "gold"}, "display_name": "Mina"})
    assert refusal(refused) == (403, "permission_denied")
    assert "insufficient_scope" in refused.headers["WWW-Authenticate"]
    assert (user_row(app, mina.id).app_metadata, user_row(app, mina.id).display_name) == ({}, None)


def test_what_an_administrator_writes_to_app_metadata_the_user_reads(admin: Person, mina: Person) -> None:
    assert admin.call("PATCH", of(mina), {"app_metadata": {"plan": "gold"}}).status_code == 200
    assert mina.call("GET", ME).get_json()["app_metadata"] == {"plan": "gold"}


@pytest.mark.parametrize(("name", "code"), [("username", "username_taken"), ("email", "email_taken")])
def test_a_taken_identifier_is_refused_and_nothing_is_changed(
    admin: Person, mina: Person, ken: Person, name: str, code: str
) -> None:
    refused = admin.call("PATCH", of(mina), {name: ken.user[name].upper(), "display_name": "Mina"})
    assert refusal(refused) == (409, code)
    assert mina.call("GET", ME).get_json() == mina.user


def test_a_taken_username_is_refused_to_the_user_as_well(mina: Person, ken: Person) -> None:
    refused = mina.call("PATCH", ME, {"username": ken.user["username"].upper()})
    assert refusal(refused) == (409, "username_taken")


def test_ones_own_identifiers_are_not_taken(mina: Person) -> None:
    names = {name: mina.user[name].upper() for name in ("username", "email")}
    assert patch(mina, **names)["username"] == names["username"]


def test_a_changed_username_signs_in_and_the_old_one_does_not(mina: Person) -> None:
    old = mina.user["username"]
    mina.user = patch(mina, username=f"{old}-new")
    mina.sign_in()
    refused = mina.client.post("/v1/sessions", json={"identifier": old, "password": PASSWORD})
    assert refused.status_code == 401


def test_both_unfit_identifiers_of_a_patch_are_named_at_once(mina: Person) -> None:
    refused = mina.call("PATCH", ME, {"username": "a b", "email": "mina@localhost"})
    assert {e["pointer"] for e in refused.get_json()["errors"]} == {"/username", "/email"}


def test_an_address_that_an_administrator_changes_is_not_verified(
    app: Flask, admin: Person, mina: Person
) -> None:
    set_user(app, mina.id, email_verified=True)
    changed = admin.call("PATCH", of(mina), {"email": "new@example.com"}).get_json()
    assert (changed["email"], changed["email_verified"]) == ("new@example.com", False)


def test_an_address_in_another_spelling_stays_verified(app: Flask, mina: Person) -> None:
    set_user(app, mina.id, email_verified=True)
    assert patch(mina, email=mina.user["email"].upper())["email_verified"] is True


def test_another_change_leaves_the_address_verified(app: Flask, mina: Person) -> None:
    set_user(app, mina.id, email_verified=True)
    assert patch(mina, display_name="Mina")["email_verified"] is True


def test_a_change_moves_updated_at_and_not_created_at(mina: Person) -> None:
    changed = patch(mina, display_name="Mina")
    assert changed["updated_at"] > mina.user["updated_at"]
    assert changed["created_at"] == mina.user["created_at"]


def test_a_patch_that_changes_nothing_moves_nothing(mina: Person) -> None:
    before = mina.call("GET", ME)
    again = mina.call("PATCH", ME, {"username": mina.user["username"], "metadata": {}})
    assert (again.get_json(), again.headers["ETag"]) == (before.get_json(), before.headers["ETag"])


def test_signing_in_moves_last_seen_at_and_not_the_entity_tag(mina: Person) -> None:
    before = mina.call("GET", ME)
    mina.sign_in()
    after = mina.call("GET", ME)
    assert after.get_json()["last_seen_at"] > before.get_json()["last_seen_at"]
    assert after.get_json()["updated_at"] == before.get_json()["updated_at"]
    assert after.headers["ETag"] == before.headers["ETag"]


def test_a_patch_for_a_state_that_is_gone_changes_nothing(mina: Person) -> None:
    old = mina.call("GET", ME).headers["ETag"]
    patch(mina, display_name="Mina")
    refused = mina.call("PATCH", ME, {"display_name": "Eve"}, If_Match=old)
    assert refusal(refused) == (412, "precondition_failed")
    assert mina.call("GET", ME).get_json()["display_name"] == "Mina"


def test_of_parallel_patches_of_different_members_none_is_lost(app: Flask, mina: Person) -> None:
    def set_member(number: int) -> int:
        change = {"metadata": {f"member-{number}": number}}
        return client_of(app).patch(ME, json=change, headers=mina.bearer).status_code

    assert in_parallel(8, set_member) == [200] * 8
    assert mina.call("GET", ME).get_json()["metadata"] == {f"member-{n}": n for n in range(8)}


def test_of_parallel_patches_for_one_state_one_is_made(app: Flask, mina: Person) -> None:
    headers = mina.bearer | {"If-Match": mina.call("GET", ME).headers["ETag"]}

    def rename(number: int) -> int:
        change = {"display_name": f"Mina {number}"}
        return client_of(app).patch(ME, json=change, headers=headers).status_code

    assert sorted(in_parallel(8, rename)) == [200] + [412] * 7


def test_of_parallel_renames_to_one_name_one_wins(app: Flask, mina: Person, ken: Person) -> None:
    people = [mina, ken]

    def rename(number: int) -> int:
        return client_of(app).patch(
            ME, json={"username": "the-one"}, headers=people[number].bearer
        ).status_code  # fmt: skip

    assert sorted(in_parallel(2, rename)) == [200, 409]


def test_a_deleted_users_tokens_are_refused_at_the_next_request(mina: Person) -> None:
    assert mina.call("DELETE", ME).status_code == 204
    assert refusal(mina.call("GET", ME)) == (401, "invalid_token")


def test_a_deleted_users_sessions_end_all(app: Flask, mina: Person) -> None:
    other = mina.sign_in()
    mina.call("DELETE", ME)
    assert session_row(app, mina.tokens["session"]["id"]).ended_because == "user_deleted"
    assert session_row(app, other["session"]["id"]).ended_because == "user_deleted"
    assert refusal(mina.refresh(other["refresh_token"])) == (401, "session_ended")


def test_a_deleted_user_is_refused_with_the_words_for_nobody(mina: Person) -> None:
    mina.call("DELETE", ME)
    answers = [
        mina.client.post("/v1/sessions", json={"identifier": name, "password": PASSWORD}).get_json()
        for name in (mina.user["username"], "nobody-at-all")
    ]
    assert answers[0] | {"request_id": ""} == answers[1] | {"request_id": ""}
    assert answers[0]["code"] == "invalid_credentials"


@pytest.mark.parametrize("name", ["username", "email"])
def test_a_deleted_users_identifiers_stay_taken(mina: Person, name: str) -> None:
    mina.call("DELETE", ME)
    refused = mina.client.post("/v1/users", json=new_details(**{name: mina.user[name]}))
    assert refusal(refused) == (409, f"{name}_taken")


def test_deleting_leaves_others_alone(mina: Person, ken: Person) -> None:
    mina.call("DELETE", ME)
    assert ken.call("GET", ME).status_code == 200


def test_deleting_is_possible_while_the_sign_in_is_fresh(mina: Person) -> None:
    with time_machine.travel(mina.tokens["session"]["created_at"], tick=False) as clock:
        clock.shift(FRESH_SECONDS)
        assert mina.call("DELETE", ME).status_code == 204


def test_deleting_needs_a_fresh_sign_in(app: Flask, mina: Person) -> None:
    with time_machine.travel(mina.tokens["session"]["created_at"], tick=False) as clock:
        clock.shift(FRESH_SECONDS + 1)
        refused = mina.call("DELETE", ME)
    assert refusal(refused) == (401, "reauthentication_required")
    assert refused.get_json()["max_age"] == FRESH_SECONDS
    challenge = f'Bearer error="insufficient_user_authentication", max_age={FRESH_SECONDS}'
    assert refused.headers["WWW-Authenticate"] == challenge
    assert user_row(app, mina.id).status == "active"


def test_a_refresh_makes_no_sign_in_fresh(mina: Person) -> None:
    with time_machine.travel(mina.tokens["session"]["created_at"], tick=False) as clock:
        clock.shift(FRESH_SECONDS + 1)
        mina.tokens = mina.refresh().get_json()
        assert refusal(mina.call("DELETE", ME)) == (401, "reauthentication_required")


def test_a_stranger_does_not_learn_by_the_freshness_who_exists(mina: Person, ken: Person) -> None:
    with time_machine.travel(mina.tokens["session"]["created_at"], tick=False) as clock:
        clock.shift(FRESH_SECONDS + 1)
        assert refusal(mina.call("DELETE", of(ken))) == (404, "not_found")


def test_an_administrator_deletes_another(admin: Person, mina: Person) -> None:
    assert admin.call("DELETE", of(mina)).status_code == 204
    assert mina.call("GET", ME).status_code == 401


def test_an_administrator_still_sees_who_was_deleted(admin: Person, mina: Person) -> None:
    admin.call("DELETE", of(mina))
    assert admin.call("GET", of(mina)).get_json()["status"] == "deleted"


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_deleted_user_is_not_changed_any_more(admin: Person, mina: Person, method: str) -> None:
    admin.call("DELETE", of(mina))
    answer = admin.call(method, of(mina), {"display_name": "Mina"} if method == "PATCH" else None)
    assert refusal(answer) == (404, "not_found")


def test_a_stale_if_match_deletes_nobody(app: Flask, mina: Person) -> None:
    assert refusal(mina.call("DELETE", ME, If_Match='"0"')) == (412, "precondition_failed")
    assert user_row(app, mina.id).status == "active"


def test_of_parallel_deletions_one_is_made(app: Flask, admin: Person, mina: Person) -> None:
    def delete(_: int) -> int:
        return client_of(app).delete(of(mina), headers=admin.bearer).status_code

    assert sorted(in_parallel(4, delete)) == [204, 404, 404, 404]


def test_a_role_is_had_from_the_next_request_on(app: Flask, mina: Person) -> None:
    assert mina.call("GET", "/v1/users").status_code == 403
    set_user(app, mina.id, roles=["admin"])
    assert mina.call("GET", "/v1/users").status_code == 200


def test_a_role_is_lost_from_the_next_request_on(app: Flask, admin: Person) -> None:
    assert admin.call("GET", "/v1/users").status_code == 200
    set_user(app, admin.id, roles=[])
    assert admin.call("GET", "/v1/users").status_code == 403


def test_a_suspended_user_is_refused_from_the_next_request_on(app: Flask, mina: Person) -> None:
    set_user(app, mina.id, status="suspended")
    assert refusal(mina.call("GET", ME)) == (401, "invalid_token")


def test_nothing_is_erased_by_deleting(app: Flask, mina: Person) -> None:
    mina.call("DELETE", ME)
    with app.app_context(), work.reading():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(User)) == 1
    assert user_row(app, mina.id).deleted_at is not None
