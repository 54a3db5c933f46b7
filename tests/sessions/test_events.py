"""What features from outside are told of sessions, and that what they write of a refusal is kept."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from api.kit.db import db
from api.kit.events import Event
from api.sessions.endings import SessionsEnded
from api.sessions.refreshing import RefreshAfterEnd, RefreshTokenForged, RefreshTokenReuse
from api.sessions.service import SessionStarted
from api.users.credentials import PasswordChanged
from tests.support.clients import PASSWORD, Person
from tests.support.watching import listening

ME = "/v1/users/me"
CURRENT = "/v1/sessions/current"
NOTED = sa.Table("noted", sa.MetaData(), sa.Column("what", sa.String(300)))
KINDS = (
    SessionStarted,
    SessionsEnded,
    RefreshTokenReuse,
    RefreshAfterEnd,
    RefreshTokenForged,
    PasswordChanged,
)


class Audit:
    """A feature from outside that writes down what it is told, in a table of its own."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.told: list[Event] = []

    def note(self, event: Event) -> None:
        self.told.append(event)
        db.session.execute(sa.insert(NOTED).values(what=repr(event)))

    @property
    def kept(self) -> list[str]:
        """What the table holds, whatever became of the requests."""
        with self.app.app_context(), db.engine.connect() as connection:
            return list(connection.scalars(sa.select(NOTED.c.what)))


@pytest.fixture
def audit(app: Flask, mina: Person) -> Iterator[Audit]:
    """What listens from now on, when mina has signed in."""
    found = Audit(app)
    with app.app_context():
        NOTED.create(db.engine)
    with listening(app, *((kind, found.note) for kind in KINDS)):
        yield found
    with app.app_context():
        NOTED.drop(db.engine)


def ids(tokens: dict[str, Any]) -> tuple[UUID, UUID]:
    """Return (user, session)."""
    return UUID(tokens["user"]["id"]), UUID(tokens["session"]["id"])


def test_a_sign_in_is_told(audit: Audit, mina: Person) -> None:
    tokens = mina.sign_in()
    assert audit.told == [SessionStarted(*ids(tokens))]


def test_a_refused_sign_in_tells_of_no_session(audit: Audit, mina: Person) -> None:
    body = {"identifier": mina.user["username"], "password": "not the password"}
    assert mina.client.post("/v1/sessions", json=body).status_code == 401
    assert audit.told == []


def test_a_refresh_tells_nothing(audit: Audit, mina: Person) -> None:
    mina.refresh()
    mina.refresh()
    assert audit.told == []


def test_a_reuse_is_told_and_what_ended_of_it(audit: Audit, mina: Person) -> None:
    user, session = ids(mina.tokens)
    _reuse(mina)
    assert audit.told == [
        RefreshTokenReuse(user, session),
        SessionsEnded(user, (session,), "refresh_token_reused"),
    ]


def _reuse(person: Person) -> None:
    first = person.tokens["refresh_token"]
    for _ in range(2):
        person.tokens = person.refresh().get_json()
    assert person.refresh(first).get_json()["code"] == "refresh_token_reused"


def test_a_refresh_after_the_end_is_told_and_is_no_reuse(audit: Audit, mina: Person) -> None:
    user, session = ids(mina.tokens)
    mina.call("DELETE", CURRENT)
    assert mina.refresh().status_code == 401
    assert audit.told == [SessionsEnded(user, (session,), "signed_out"), RefreshAfterEnd(session)]


def test_a_refresh_of_an_expired_session_is_told_as_after_its_end(
    audit: Audit, mina: Person, clock: time_machine.Traveller
) -> None:
    clock.shift(31 * 86400)
    assert mina.refresh().status_code == 401
    assert audit.told == [RefreshAfterEnd(ids(mina.tokens)[1])]


@pytest.mark.parametrize("path", ["/v1/sessions/refresh", "/v1/sessions/sign-out"])
def test_a_forged_token_is_told(audit: Audit, mina: Person, path: str) -> None:
    for forged in ("x", f"tsr_{'A' * 70}"):
        assert mina.client.post(path, json={"refresh_token": forged}).status_code == 401
    assert audit.told == [RefreshTokenForged()] * 2


def test_a_changed_password_is_told_and_what_ended_of_it(audit: Audit, mina: Person) -> None:
    other = mina.sign_in()
    body = {"current_password": PASSWORD, "new_password": "another horse battery staple"}
    assert mina.call("PUT", f"{ME}/password", body).status_code == 204
    user, session = ids(other)
    assert audit.told[1:] == [PasswordChanged(user), SessionsEnded(user, (session,), "password_changed")]


def test_a_change_that_ends_no_session_tells_of_the_password_alone(audit: Audit, mina: Person) -> None:
    body = {"current_password": PASSWORD, "new_password": "another horse battery staple"}
    mina.call("PUT", f"{ME}/password", body)
    assert audit.told == [PasswordChanged(ids(mina.tokens)[0])]


def test_a_password_that_is_not_changed_is_not_told(audit: Audit, mina: Person) -> None:
    body = {"current_password": "not the password", "new_password": "another horse battery staple"}
    assert mina.call("PUT", f"{ME}/password", body).status_code == 403
    assert audit.told == []


def test_endings_are_told_once_for_all_sessions_of_a_request(audit: Audit, mina: Person) -> None:
    other = mina.sign_in()
    mina.call("DELETE", f"{ME}/sessions")
    ended = audit.told[-1]
    assert isinstance(ended, SessionsEnded)
    assert set(ended.session_ids) == {ids(mina.tokens)[1], ids(other)[1]}
    assert len(audit.told) == 2


def test_what_has_ended_is_not_told_again(audit: Audit, mina: Person) -> None:
    for _ in range(2):
        mina.client.post("/v1/sessions/sign-out", json={"refresh_token": mina.tokens["refresh_token"]})
    assert len(audit.told) == 1


# What a listener writes


def test_what_is_written_of_a_reuse_is_kept_although_it_is_refused(audit: Audit, mina: Person) -> None:
    _reuse(mina)
    assert audit.kept == [repr(event) for event in audit.told]
    assert len(audit.kept) == 2


def test_what_is_written_of_a_refresh_after_the_end_is_kept(audit: Audit, mina: Person) -> None:
    mina.call("DELETE", CURRENT)
    mina.refresh()
    assert audit.kept[1:] == [repr(RefreshAfterEnd(ids(mina.tokens)[1]))]


@pytest.mark.parametrize("path", ["/v1/sessions/refresh", "/v1/sessions/sign-out"])
def test_what_is_written_of_a_forged_token_is_kept(audit: Audit, mina: Person, path: str) -> None:
    mina.client.post(path, json={"refresh_token": "forged"})
    assert audit.kept == [repr(RefreshTokenForged())]


def test_what_is_written_of_a_request_that_fails_is_undone(audit: Audit, mina: Person) -> None:
    def fail(_: SessionsEnded) -> None:
        raise RuntimeError("a listener that fails")

    with listening(audit.app, (SessionsEnded, audit.note), (SessionsEnded, fail)):
        assert audit.app.test_client().delete(CURRENT, headers=mina.bearer).status_code == 500
    assert len(audit.told) == 1
    assert audit.kept == []
