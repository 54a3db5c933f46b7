"""Everything that is held about one user, as one document; no secret in it."""

import json
import re
from uuid import UUID, uuid4

import sqlalchemy as sa
from flask import Flask

from api.users.models import User
from tests.support.clients import Person
from tests.support.mail import Mailbox
from tests.support.watching import session_row, user_row

EXPORT = "/v1/users/me/export"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def test_every_feature_that_holds_something_tells_it(mina: Person, mailbox: Mailbox) -> None:
    mina.client.post("/v1/password-resets", json={"email": mina.user["email"]})
    mailbox.deliver()
    data = mina.call("GET", EXPORT).get_json()["data"]
    assert sorted(data) == ["audit", "emails", "outbox", "passwords", "sessions", "users"]
    assert [token["purpose"] for token in data["emails"]] == ["email_verification"]
    assert [token["purpose"] for token in data["passwords"]] == ["password_reset"]


def test_what_happened_is_told_as_the_user_sees_it(mina: Person, admin: Person) -> None:
    admin.call("PATCH", f"/v1/users/{mina.id}", {"display_name": "Mina"})
    shown = mina.call("GET", "/v1/users/me/audit-events").get_json()["items"]
    told = mina.call("GET", EXPORT).get_json()["data"]["audit"]
    assert told == shown
    assert told[0]["actor_kind"] == "administrator"


def test_the_profile_is_whole(mina: Person) -> None:
    mina.call("PATCH", "/v1/users/me", {"metadata": {"theme": "dark"}, "locale": "ko-KR"})
    shown = mina.call("GET", "/v1/users/me").get_json()
    told = mina.call("GET", EXPORT).get_json()["data"]["users"]
    assert {name: told[name] for name in shown} == shown


def test_every_column_of_a_user_is_told_or_known_to_be_none_of_the_users(mina: Person) -> None:
    told = set(mina.call("GET", EXPORT).get_json()["data"]["users"])
    columns = {column.name for column in sa.inspect(User).columns}
    assert columns - told == {
        "password_hash", "username_key", "username_skeleton", "email_key", "pending_email_key", "version",
        "search_text",
    }  # fmt: skip


def test_sessions_that_have_ended_are_told_as_well(mina: Person) -> None:
    other = mina.sign_in(device_name="phone")
    mina.call("DELETE", f"/v1/users/me/sessions/{other['session']['id']}")
    told = mina.call("GET", EXPORT).get_json()["data"]["sessions"]
    assert [(s["device_name"], s["ended_because"]) for s in told] == [(None, None), ("phone", "signed_out")]


def test_what_is_owed_is_told_by_its_kind(mina: Person) -> None:
    [owed] = mina.call("GET", EXPORT).get_json()["data"]["outbox"]
    assert (owed["kind"], owed["failed_at"]) == ("mail", None)


def test_instants_are_written_as_everywhere(mina: Person) -> None:
    told = mina.call("GET", EXPORT).get_json()
    texts = [
        told["exported_at"],
        told["data"]["users"]["created_at"],
        told["data"]["sessions"][0]["created_at"],
    ]
    assert all(INSTANT.fullmatch(text) for text in texts)


def test_no_secret_and_nobody_else_is_in_it(app: Flask, mina: Person, ken: Person, mailbox: Mailbox) -> None:
    mina.client.post("/v1/password-resets", json={"email": mina.user["email"]})
    letters = mailbox.deliver()
    text = mina.call("GET", EXPORT).text
    row = user_row(app, mina.id)
    secrets = [row.password_hash, mina.tokens["refresh_token"], "argon2", "digest", "content"]
    secrets += [letter.token for letter in letters if letter.to == mina.user["email"]]
    assert not [secret for secret in secrets if secret in text]
    assert ken.id not in text
    assert ken.user["username"] not in text
    assert session_row(app, mina.tokens["session"]["id"]).user_id == UUID(mina.id)


def test_an_administrator_exports_others_the_deleted_as_well(admin: Person, mina: Person) -> None:
    mina.call("DELETE", "/v1/users/me")
    told = admin.call("GET", f"/v1/users/{mina.id}/export").get_json()["data"]["users"]
    assert (told["id"], told["status"]) == (mina.id, "deleted")
    assert admin.call("GET", f"/v1/users/{uuid4()}/export").status_code == 404


def test_it_is_kept_by_no_cache(mina: Person) -> None:
    answer = mina.call("GET", EXPORT)
    assert answer.headers["Cache-Control"] == "no-store"
    assert json.loads(answer.text)["exported_at"]
