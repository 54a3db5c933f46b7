"""Whatever is done with sessions in whatever order: the service answers as the model of API.md does."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from werkzeug.test import TestResponse

from api.app import create_app
from api.kit.db import db, dispose
from api.kit.hashing import Hasher
from api.sessions.keys import Keyring, keyring
from api.sessions.models import Revocation, Session, SigningKey
from api.users.models import User
from tests.sessions import session_model as model
from tests.sessions.session_model import ACCESS_LONGEST, ACCESS_SHORTEST, DAY, Access, Model, Outcome
from tests.support import databases
from tests.support.clients import PASSWORD, ContractClient, Person, client_of, new_person
from tests.support.watching import set_user, user_row

pytestmark = pytest.mark.long

EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "40"))  # on each database; they take about 10 seconds
STEPS = 25
START = 1893456000  # 2030-01-01: every example begins here
PASSWORDS = (PASSWORD, "staple battery horse correct")
MOMENTS = (1, 29, 30, 31, 59, 60, 61, 299, 300, 301, 840, 960)  # seconds, on both sides of every limit
REST = (DAY, 29 * DAY, 30 * DAY, 31 * DAY, 60 * DAY)
MINE = "/v1/users/me/sessions"


@dataclass
class Service:
    """A service of its own with two users, whom the examples share: it takes long to sign up."""

    app: Flask
    people: tuple[Person, Person]
    password_hash: str
    examples: int = 0

    def begin_anew(self) -> None:
        """Leave no session and no key, and the users as they were.

        Each example goes back to START, as no clock does: a key that an example made in its future would
        be in the way of the next one.
        """
        as_before = sa.update(User).values(status="active", password_hash=self.password_hash)
        with self.app.app_context():
            with db.engine.begin() as connection:
                for table in (Session, Revocation, SigningKey):
                    connection.execute(sa.delete(table))
                connection.execute(as_before.values(password_changed_at=datetime.fromtimestamp(START, UTC)))
            self.app.extensions["tessera.keyring"] = Keyring(keyring().seal)
        self.examples += 1


@pytest.fixture(scope="module")
def service(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on a database of its own, as its clock and its keys are nobody else's."""
    kind = sa.make_url(environ["TESSERA_DATABASE_URL"]).get_backend_name()
    with databases.fresh(kind, tmp_path_factory.mktemp("machine")) as url:
        app = create_app(environ | {"TESSERA_DATABASE_URL": url})
        app.extensions["tessera.hasher"] = Hasher(64, 1, tmp_path_factory.mktemp("slots"))
        people = (new_person(app), new_person(app))
        password_hash = user_row(app, people[0].id).password_hash
        yield Service(app, people, password_hash)
        with app.app_context():
            dispose()


@dataclass(frozen=True, eq=False)
class Tokens:
    """What one answer gave, and what the model knows of it."""

    refresh_token: str
    access_token: str
    access: Access

    @property
    def session(self) -> model.Session:
        return self.access.session


class Device(NamedTuple):
    """The device that signed in last but so many, of those that are signed in."""

    nth: int


class Given(NamedTuple):
    """The tokens that were given last but so many, whoever has them and whether they are good."""

    nth: int


device = st.builds(Device, st.integers(0, 2))
given = st.builds(Given, st.integers(0, 12))
anyone = device | given
user = st.integers(0, 1)
password = st.sampled_from((*PASSWORDS, PASSWORD))
age = st.sampled_from((None, 0, 300, 301))  # of the sign-in, in seconds; None for whatever it is
Who = Device | Given


class SessionMachine(RuleBasedStateMachine):
    """Two users with any number of devices, a thief who knows every token, a clock."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service
        self.client: ContractClient = client_of(service.app)
        self.model = Model(START)
        self.users = [model.User(PASSWORD) for _ in service.people]
        self.given: list[Tokens] = []
        self.held: dict[model.Session, Tokens] = {}  # what the device itself has
        self.ids: dict[model.Session, str] = {}
        self.refresh_tokens: dict[tuple[model.Session, int], str] = {}
        self.seen_dead: set[model.Session] = set()
        self.travel: time_machine.travel | None = None

    @initialize()
    def begin(self) -> None:
        self.travel = time_machine.travel(START, tick=False)
        self.clock = self.travel.start()
        self.service.begin_anew()
        self.sign_in(0, PASSWORD)

    @rule(user=user, password=password)
    def sign_in(self, user: int, password: str) -> None:
        identifier = self.service.people[user].user["username"]
        answer = self.client.post("/v1/sessions", json={"identifier": identifier, "password": password})
        self._keep(self._received(answer, self.model.sign_in(self.users[user], password)))

    @rule(who=anyone)
    def refresh_or_sign_in(self, who: Who) -> None:
        """Do what a client does: refresh with what the device has, and sign in anew when it is refused."""
        session = self._tokens(who).session
        if not self._refresh(session):
            self.sign_in(self.users.index(session.user), session.user.password)

    @rule(who=device)
    def lose_an_answer(self, who: Who) -> None:
        """Refresh and miss the answer: the device still has the token that it had."""
        self._present(*self._tokens(who).access[:2])

    @rule(who=given)
    def replay(self, who: Who) -> None:
        self._present(*self._tokens(who).access[:2])

    @rule(who=device, seconds=st.sampled_from(MOMENTS), used=st.sampled_from(("nothing", "old", "new")))
    def refresh_and_replay(self, who: Who, seconds: int, used: str) -> None:
        """Exchange a token, and present it again later: an access token may have been used meanwhile."""
        old = self._tokens(who)
        new = self._refresh(old.session)
        self.tick(seconds)
        if tokens := {"old": old, "new": new}.get(used):
            self._use(tokens)
        self._present(*old.access[:2])

    @rule(who=anyone)
    def use(self, who: Who) -> None:
        self._use(self._tokens(who))

    @rule(who=anyone)
    def list_devices(self, who: Who) -> None:
        self._list(self._signed_in(who))

    @rule(who=anyone, password=password)
    def reauthenticate(self, who: Who, password: str) -> None:
        self._reauthenticate(self._signed_in(who), password)

    @rule(who=anyone, age=age, current=password, new=password)
    def change_password(self, who: Who, age: int | None, current: str, new: str) -> None:
        tokens = self._signed_in(who, age)
        body = {"current_password": current, "new_password": new}
        answer = self._call("PUT", "/v1/users/me/password", tokens, body)
        self._check(answer, self.model.change_password(tokens.access, current, new))

    @rule(who=anyone)
    def sign_out(self, who: Who) -> None:
        tokens = self._signed_in(who)
        answer = self._call("DELETE", "/v1/sessions/current", tokens)
        self._check(answer, self.model.sign_out(tokens.access))

    @rule(who=anyone, by_oldest=st.booleans())
    def sign_out_by_token(self, who: Who, by_oldest: bool) -> None:
        tokens = self._tokens(who)
        token = self.refresh_tokens[tokens.session, 0] if by_oldest else tokens.refresh_token
        answer = self.client.post("/v1/sessions/sign-out", json={"refresh_token": token})
        self._check(answer, self.model.sign_out_by_token(tokens.session))

    @rule(who=anyone, other=anyone)
    def sign_out_device(self, who: Who, other: Who) -> None:
        tokens, session = self._signed_in(who), self._tokens(other).session
        answer = self._call("DELETE", f"{MINE}/{self.ids[session]}", tokens)
        self._check(answer, self.model.sign_out_device(tokens.access, session))

    @rule(who=anyone, age=age, keep_current=st.booleans())
    def sign_out_everywhere(self, who: Who, age: int | None, keep_current: bool) -> None:
        tokens = self._signed_in(who, age)
        answer = self._call("DELETE", f"{MINE}?keep=current" if keep_current else MINE, tokens)
        self._check(answer, self.model.sign_out_everywhere(tokens.access, keep_current=keep_current))

    @rule(user=user, active=st.sampled_from((True, False, True)))
    def suspend_or_not(self, user: int, active: bool) -> None:
        if active is self.users[user].active:
            return
        status = "active" if active else "suspended"
        set_user(self.service.app, self.service.people[user].id, status=status)
        self.users[user].active = active
        for session, tokens in self.held.items():
            if session.user is self.users[user] and not session.ended:
                self._use(tokens)

    @rule(seconds=st.sampled_from((*MOMENTS, *REST)))
    def tick(self, seconds: int) -> None:
        self.clock.shift(seconds)
        self.model.now += seconds

    @invariant()
    def nothing_lives_of_what_has_ended(self) -> None:
        """After a sign-out or a reuse no token of the session is good, whichever it is."""
        for session in self.model.sessions:
            if session.ended and session not in self.seen_dead:
                self._check_dead(session)
                self.seen_dead.add(session)

    def teardown(self) -> None:
        if self.travel is not None:
            try:
                if sys.exception() is None:
                    self._present_everything()
            finally:
                self.travel.stop()

    def _present_everything(self) -> None:
        """Present all that was ever given: now, to the end of one session's life, and after it."""
        for number in range(len(self.users)):
            self.suspend_or_not(number, True)
        for tokens in self.given:
            if tokens.session not in self.seen_dead:
                self._use(tokens)
        live = [session for session in self.model.sessions if self.model.lives(session)]
        for session in live:
            self._list(self.held[session])
        for session in live[:-1]:
            self._present_all_of(session)
        for session in live[-1:]:
            self._outlive(session)
        for session in self.model.sessions:
            self._check_dead(session)

    def _present_all_of(self, session: model.Session) -> None:
        """Present all refresh tokens of a session: the one before the current one first, the oldest last."""
        newest = session.generation
        for generation in (newest - 1, *range(newest, -1, -1)):
            if generation >= 0:
                self._present(session, generation)

    def _outlive(self, session: model.Session) -> None:
        """Refresh at the last moment, over and over, until nothing keeps the session alive."""
        while self.model.lives(session):
            self.tick(session.end - self.model.now - 1)
            self._present(session, session.generation)
            self.tick(1)
        self._present(session, session.generation)

    def _check_dead(self, session: model.Session) -> None:
        for (one, generation), token in self.refresh_tokens.items():
            if one is session:
                answer = self.client.post("/v1/sessions/refresh", json={"refresh_token": token})
                assert _refusal(answer) == (401, "session_ended"), f"generation {generation} lives"
        for tokens in self.given:
            if tokens.session is session:
                answer = self._call("GET", "/v1/users/me", tokens)
                assert _refusal(answer) == (401, "invalid_token"), f"{tokens.access.generation} lives"

    def _tokens(self, who: Who) -> Tokens:
        if isinstance(who, Given):
            return self.given[-1 - who.nth % len(self.given)]
        live = [session for session in self.held if self.model.lives(session)] or list(self.held)
        return self.held[live[-1 - who.nth % len(live)]]

    def _signed_in(self, who: Who, age: int | None = None) -> Tokens:
        """Return the tokens of somebody; a device refreshes an access token that has expired.

        With an age it has proved so many seconds ago who it is, if it could.
        """
        tokens = self._tokens(who)
        is_old = self.model.now - tokens.access.issued_at >= ACCESS_SHORTEST
        if isinstance(who, Device) and is_old:
            tokens = self._refresh(tokens.session) or tokens
        if age is not None:
            tokens = self._reauthenticate(tokens, tokens.session.user.password) or tokens
            self.tick(age)
        self._pass_uncertainty(tokens)
        return tokens

    def _reauthenticate(self, tokens: Tokens, password: str) -> Tokens | None:
        self._pass_uncertainty(tokens)
        answer = self._call("POST", "/v1/sessions/reauthenticate", tokens, {"password": password})
        return self._keep(self._received(answer, self.model.reauthenticate(tokens.access, password)))

    def _pass_uncertainty(self, tokens: Tokens) -> None:
        """Let the clock pass the time in which chance decides whether an access token is good."""
        if not self.model.is_certain(tokens.access):
            self.tick(ACCESS_LONGEST - ACCESS_SHORTEST)

    def _refresh(self, session: model.Session) -> Tokens | None:
        """Refresh with what the device has, which then has what came."""
        return self._keep(self._present(*self.held[session].access[:2]))

    def _present(self, session: model.Session, generation: int) -> Tokens | None:
        body = {"refresh_token": self.refresh_tokens[session, generation]}
        answer = self.client.post("/v1/sessions/refresh", json=body)
        return self._received(answer, self.model.refresh(session, generation))

    def _use(self, tokens: Tokens) -> None:
        self._pass_uncertainty(tokens)
        self._check(self._call("GET", "/v1/users/me", tokens), self.model.use(tokens.access))

    def _list(self, tokens: Tokens) -> None:
        """Hold the list of devices against the model's: who is there, and the newest first."""
        self._pass_uncertainty(tokens)
        answer = self._call("GET", MINE, tokens)
        self._check(answer, self.model.use(tokens.access))
        if answer.status_code == 200:
            items = answer.get_json()["items"]
            live = [one for one in self.model.sessions if one.user is tokens.session.user]
            live = [one for one in live if self.model.lives(one)]
            expected = {self.ids[one]: _described(one, one is tokens.session) for one in live}
            assert {item["id"]: _essence(item) for item in items} == expected
            created = [item["created_at"] for item in items]
            assert created == sorted(created, reverse=True)

    def _call(self, method: str, path: str, tokens: Tokens, body: Any = None) -> TestResponse:
        headers = {"Authorization": f"Bearer {tokens.access_token}"}
        return self.client.open(path, method=method, json=body, headers=headers)

    def _keep(self, received: Tokens | None) -> Tokens | None:
        """Let the device have what came, if anything."""
        if received is not None:
            self.held[received.session] = received
        return received

    def _received(self, answer: TestResponse, expected: Outcome) -> Tokens | None:
        """Hold an answer that may give tokens against the model's, and return them."""
        self._check(answer, expected)
        if expected.gives is None:
            return None
        tokens = self._read(answer.get_json(), expected.gives)
        self.given.append(tokens)
        return tokens

    def _read(self, content: dict[str, Any], session: model.Session) -> Tokens:
        described, generation = content["session"], session.generation
        assert self.ids.setdefault(session, described["id"]) == described["id"]
        assert _essence(described) == _described(session, True)
        token = content["refresh_token"]
        assert self.refresh_tokens.setdefault((session, generation), token) == token, "two of a generation"
        assert len({*self.refresh_tokens.values()}) == len(self.refresh_tokens), "one of two generations"
        self._check_expiry(_seconds(content["expires_at"]), session)
        return Tokens(token, content["access_token"], Access(session, generation, self.model.now))

    def _check_expiry(self, expires_at: int, session: model.Session) -> None:
        earliest, latest = self.model.now + ACCESS_SHORTEST, self.model.now + ACCESS_LONGEST
        end = session.absolute_end
        assert min(earliest, end) <= expires_at <= min(latest, end)

    @staticmethod
    def _check(answer: TestResponse, expected: Outcome) -> None:
        got = _refusal(answer) if answer.status_code >= 400 else (answer.status_code, None)
        assert got == (expected.status, expected.code), f"{got} is not {expected.status} {expected.code}"


def _refusal(answer: TestResponse) -> tuple[int, str | None]:
    return answer.status_code, (answer.get_json(silent=True) or {}).get("code")


def _essence(described: dict[str, Any]) -> tuple[int, int, int, bool]:
    """Return what the model knows of a session that an answer describes."""
    times = [_seconds(described[name]) for name in ("created_at", "last_used_at", "expires_at")]
    return times[0], times[1], times[2], described["current"]


def _described(session: model.Session, current: bool) -> tuple[int, int, int, bool]:
    return session.created_at, session.last_used_at, session.end, current


def _seconds(instant: str) -> int:
    return int(datetime.fromisoformat(instant).timestamp())


def test_the_service_answers_as_the_model_whatever_is_done(service: Service) -> None:
    how = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=False,
        database=None,
        print_blob=True,
    )
    run_state_machine_as_test(lambda: SessionMachine(service), settings=how)  # type: ignore[arg-type]  # a factory will do
    assert service.examples >= EXAMPLES
