"""Each deed leaves one entry, in its own transaction: who, to whom, by which session, from where."""

import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
import time_machine
from flask import Flask

from api.kit import work
from api.kit.problems import NotFound
from api.sessions.endings import SessionsEnded
from api.users import service as users
from api.users import signing_up
from api.users.service import UserChanged
from tests.audit.trail import actions_since, entries, only
from tests.conftest import MakeApp
from tests.support.clients import PASSWORD, Person, new_details, new_person
from tests.support.mail import deliver_all, one_time_token
from tests.support.servers import ROOT
from tests.support.watching import in_parallel, listening, statements, user_row

NEW = "another horse battery staple"
ME = "/v1/users/me"


def call(person: Person, method: str, path: str, body: Any = None) -> int:
    """Send a request from an address of its own, with an id of its own."""
    return person.client.open(
        path,
        method=method,
        json=body,
        headers=person.bearer | {"X-Request-Id": "request-7"},
        environ_overrides={"REMOTE_ADDR": "192.0.2.7"},
    ).status_code


@dataclass(frozen=True)
class Deed:
    """Something that a signed-in person does to themselves, and what of it is written."""

    action: str
    do: Callable[[Person], int]
    details: Callable[[Person], dict[str, Any]] = lambda _: {}


def _ended(reason: str) -> Callable[[Person], dict[str, Any]]:
    return lambda p: {"reason": reason, "count": 1, "session_ids": [p.tokens["session"]["id"]]}


BY_THEMSELVES = [
    Deed(
        "user_updated",
        lambda p: call(p, "PATCH", ME, {"display_name": "canary", "metadata": {"a": "canary"}}),
        lambda _: {"members": ["display_name", "metadata"]},
    ),
    Deed(
        "user_updated",
        lambda p: call(p, "PATCH", ME, {"email": "canary@example.com"}),
        lambda _: {"members": ["pending_email"]},
    ),
    Deed("user_deleted", lambda p: call(p, "DELETE", ME)),
    Deed("sessions_ended", lambda p: call(p, "DELETE", ME), _ended("user_deleted")),
    Deed("sessions_ended", lambda p: call(p, "DELETE", "/v1/sessions/current"), _ended("signed_out")),
    Deed(
        "authn_reauthenticated",
        lambda p: call(p, "POST", "/v1/sessions/reauthenticate", {"password": PASSWORD}),
    ),
    Deed(
        "password_changed",
        lambda p: call(p, "PUT", f"{ME}/password", {"current_password": PASSWORD, "new_password": NEW}),
    ),
    Deed(
        "authn_login_fail",
        lambda p: call(p, "PUT", f"{ME}/password", {"current_password": "canary-1", "new_password": NEW}),
        lambda _: {"reason": "wrong_password", "limit_reached": False},
    ),
    Deed(
        "authn_login_fail",
        lambda p: call(p, "POST", "/v1/sessions/reauthenticate", {"password": "canary-1"}),
        lambda _: {"reason": "wrong_password", "limit_reached": False},
    ),
]  # fmt: skip


@pytest.mark.parametrize("deed", BY_THEMSELVES, ids=lambda deed: f"{deed.action}-{BY_THEMSELVES.index(deed)}")
def test_what_somebody_does_to_themselves(app: Flask, mina: Person, deed: Deed) -> None:
    assert deed.do(mina) < 500
    entry = only(app, deed.action)
    assert (entry.actor_kind, entry.actor_id, entry.subject_id) == ("user", UUID(mina.id), UUID(mina.id))
    assert entry.session_id == UUID(mina.tokens["session"]["id"])
    assert (entry.ip, entry.request_id) == ("192.0.2.7", "request-7")
    assert entry.details == deed.details(mina)


def test_what_an_administrator_does_to_another(app: Flask, admin: Person, mina: Person) -> None:
    before = entries(app)
    path = f"/v1/users/{mina.id}"
    assert call(admin, "PATCH", path, {"email": "new@example.com"}) == 200
    assert call(admin, "PUT", f"{path}/password", {"current_password": None, "new_password": NEW}) == 204
    assert call(admin, "DELETE", path) == 204
    expected = ["email_changed", "password_changed", "sessions_ended", "user_deleted"]
    assert sorted(actions_since(app, before)) == expected
    for entry in entries(app)[len(before) :]:
        assert (entry.actor_id, entry.subject_id) == (UUID(admin.id), UUID(mina.id))
        assert entry.session_id == UUID(admin.tokens["session"]["id"])
        assert entry.ip == "192.0.2.7"


def test_signing_up_and_in(app: Flask, mina: Person) -> None:
    created, signed_in = entries(app, "user_created", "authn_login_success")
    assert (created.actor_kind, created.actor_id, created.subject_id) == ("nobody", None, UUID(mina.id))
    assert (signed_in.actor_kind, signed_in.actor_id) == ("user", UUID(mina.id))
    assert signed_in.session_id == UUID(mina.tokens["session"]["id"])
    assert signed_in.ip == "127.0.0.1"


@pytest.mark.parametrize("known", [True, False])
def test_a_failed_sign_in_names_the_account_if_there_is_one(app: Flask, mina: Person, known: bool) -> None:
    name = mina.user["username"] if known else "canary-typed-into-the-wrong-field"
    body = {"identifier": name, "password": "canary-1"}
    assert mina.client.post("/v1/sessions", json=body).status_code == 401
    entry = only(app, "authn_login_fail")
    assert (entry.actor_kind, entry.actor_id, entry.session_id) == ("nobody", None, None)
    assert entry.subject_id == (UUID(mina.id) if known else None)


def test_the_last_try_is_told_and_those_after_it_leave_nothing(make_app: MakeApp) -> None:
    app = make_app(LIMITS="on", FAILED_ATTEMPTS="2 per hour")
    mina = new_person(app)
    body = {"identifier": mina.user["username"], "password": "canary-1"}
    statuses = [mina.client.post("/v1/sessions", json=body).status_code for _ in range(4)]
    assert statuses == [401, 401, 429, 429]
    reached = [entry.details["limit_reached"] for entry in entries(app, "authn_login_fail")]
    assert reached == [False, True]


def test_a_sign_in_before_the_address_is_confirmed(make_app: MakeApp) -> None:
    app = make_app(UNVERIFIED_SIGN_IN="refused")
    client = app.test_client()
    details = new_details()
    client.post("/v1/users", json=details)
    body = {"identifier": details["username"], "password": PASSWORD}
    assert client.post("/v1/sessions", json=body).status_code == 401
    assert only(app, "authn_login_fail").details == {"reason": "address_not_confirmed"}


def test_a_reuse_is_kept_although_it_is_refused(app: Flask, mina: Person) -> None:
    first = mina.tokens["refresh_token"]
    for _ in range(2):
        mina.tokens = mina.refresh().get_json()
    assert mina.refresh(first).get_json()["code"] == "refresh_token_reused"
    entry = only(app, "authn_token_reuse")
    assert (entry.actor_kind, entry.subject_id) == ("nobody", UUID(mina.id))
    assert entry.session_id == UUID(mina.tokens["session"]["id"])
    assert only(app, "sessions_ended").details["reason"] == "refresh_token_reused"


def test_refreshes_and_forged_tokens_leave_nothing(app: Flask, mina: Person) -> None:
    before = entries(app)
    mina.refresh()
    assert mina.refresh("forged").status_code == 401
    assert actions_since(app, before) == []


def test_a_password_set_by_a_letter(app: Flask, mina: Person) -> None:
    body = {"token": one_time_token(mina, "password_reset"), "new_password": NEW}
    assert mina.client.post("/v1/password-resets/confirm", json=body).status_code == 204
    entry = only(app, "password_reset")
    assert (entry.actor_kind, entry.subject_id) == ("nobody", UUID(mina.id))
    assert entries(app, "password_changed") == []
    assert only(app, "user_updated").details == {"members": ["email_verified"]}


def test_the_command_line(app: Flask) -> None:
    with app.app_context(), work.writing():
        signing_up.sign_up(**new_details(), as_admin=True)
    created = only(app, "user_created")
    assert (created.actor_kind, created.actor_id, created.ip) == ("command", None, None)


def test_an_account_that_the_worker_makes(make_app: MakeApp) -> None:
    app = make_app(SIGN_UP="private")
    assert app.test_client().post("/v1/users", json=new_details()).status_code == 202
    deliver_all(app)
    assert only(app, "user_created").actor_kind == "service"


def test_the_sessions_of_an_entry_are_bounded() -> None:
    ids = tuple(UUID(int=number) for number in range(500))
    details = SessionsEnded(UUID(int=1), ids, "signed_out").details()
    assert (details["count"], len(details["session_ids"])) == (500, 20)


def test_nothing_that_a_person_wrote_is_kept(app: Flask, mina: Person) -> None:
    for deed in BY_THEMSELVES:
        deed.do(mina)
    written = repr([vars(entry) for entry in entries(app)])
    for text in ("canary", PASSWORD, NEW, mina.user["username"], mina.user["email"]):
        assert text not in written


def test_a_deed_that_fails_leaves_no_entry(app: Flask, mina: Person) -> None:
    before = entries(app)

    def fail(_: UserChanged) -> None:
        raise RuntimeError("a listener that fails")

    with listening(app, (UserChanged, fail)):
        answer = app.test_client().patch(ME, json={"display_name": "new"}, headers=mina.bearer)
    assert answer.status_code == 500
    assert actions_since(app, before) == []


def test_a_unit_that_is_undone_after_the_entry_leaves_none(app: Flask, mina: Person) -> None:
    before = entries(app)
    with app.app_context(), pytest.raises(NotFound), work.writing():
        users.apply(users.locked(UUID(mina.id)), {"display_name": "new"})
        raise NotFound()
    assert actions_since(app, before) == []
    assert user_row(app, mina.id).display_name is None


def test_an_entry_that_cannot_be_written_undoes_the_deed(
    app: Flask, mina: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("no entry")

    monkeypatch.setattr("api.audit.service.new_id", fail)
    answer = app.test_client().patch(ME, json={"display_name": "new"}, headers=mina.bearer)
    assert answer.status_code == 500
    assert user_row(app, mina.id).display_name is None


_ENDLESSLY = """
import sys
from uuid import UUID
from api.app import create_app
from api.kit import work
from api.users import service as users, signing_up
app = create_app()
for number in range(10**6):
    with app.app_context(), work.writing():
        users.apply(users.locked(UUID(sys.argv[1])), {"display_name": f"name {number}"})
    print(flush=True)
"""


@pytest.mark.long
def test_who_is_killed_leaves_the_deed_with_its_entry_or_neither(
    app: Flask, mina: Person, environ: dict[str, str]
) -> None:
    version = user_row(app, mina.id).version
    for _ in range(3):
        command = [sys.executable, "-c", _ENDLESSLY, mina.id]
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(random.randrange(20, 60)):
            assert process.stdout.readline()
        process.kill()
        process.communicate()
    written = len(entries(app, "user_updated"))
    assert written == user_row(app, mina.id).version - version
    assert written >= 60


def test_an_entry_costs_one_insert(app: Flask, mina: Person) -> None:
    with statements(app) as seen:
        mina.call("PATCH", ME, {"display_name": "new"})
    assert len([s for s in seen if "audit" in s.text]) == 1


def test_each_of_many_at_once_leaves_its_own(app: Flask) -> None:
    people = [new_person(app) for _ in range(6)]
    before = entries(app)
    in_parallel(6, lambda number: people[number].call("PATCH", ME, {"display_name": "new"}))
    written = entries(app)[len(before) :]
    assert {str(entry.actor_id) for entry in written} == {person.id for person in people}
    assert len(written) == 6


def test_switched_off_nothing_is_written_and_the_rest_works(make_app: MakeApp) -> None:
    app = make_app(FEATURES="-audit")
    mina = new_person(app)
    assert mina.call("PATCH", ME, {"display_name": "new"}).status_code == 200
    assert mina.call("GET", f"{ME}/audit-events").status_code == 404
    assert entries(app) == []


@pytest.fixture
def clock() -> Any:
    with time_machine.travel("2026-11-22T12:00:00Z", tick=False) as traveller:
        yield traveller


def test_an_entry_has_the_time_of_the_clock(app: Flask, clock: time_machine.Traveller) -> None:
    new_person(app)
    assert {entry.at.isoformat() for entry in entries(app)} == {"2026-11-22T12:00:00+00:00"}
