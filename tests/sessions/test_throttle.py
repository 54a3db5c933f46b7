"""Failed attempts: how many there may be, for whom and from where, and what they tell."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from api.app import create_app
from api.kit import attempts
from api.kit.attempts import FailedAttempts
from api.kit.db import db, dispose
from api.kit.problems import Overloaded
from tests.conftest import MakeApp
from tests.support.chores import do_chores
from tests.support.clients import PASSWORD, ContractClient, Person, client_of, new_details, new_person
from tests.support.mail import one_time_token
from tests.support.watching import Counted, CountingHasher, crowded, in_parallel, set_user, statements

WRONG = "not the password"
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.1"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
WIDE = "1000000 per minute"
LIMITED = {"LIMITS": "on", "REQUEST_LIMIT": WIDE, "PASSWORD_LIMIT": WIDE, "SIGN_UP_LIMIT": WIDE}


@pytest.fixture(scope="module")
def limited_app(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    made = create_app(environ | {f"TESSERA_{name}": value for name, value in LIMITED.items()})
    made.extensions["tessera.hasher"] = CountingHasher(made, tmp_path_factory.mktemp("l"), memory_kib=64)
    yield made
    with made.app_context():
        dispose()


@pytest.fixture
def limited(app: Flask, limited_app: Flask) -> Flask:
    """A service that limits failed attempts: 10, 50 and 100, as by default; but not requests.

    Its hashes cost little: who waits for hundreds of them learns nothing more.
    """
    return limited_app


def limiting(make_app: MakeApp, folder: Path, memory_kib: int = 19456, **settings: str) -> Flask:
    """Return such a service with other settings, whose hashes cost what they must."""
    app = make_app(**LIMITED, **settings)
    app.extensions["tessera.hasher"] = CountingHasher(app, folder, memory_kib=memory_kib)
    return app


def counted_by(app: Flask) -> Counted:
    """Return what the hasher of a limiting service does."""
    hasher: CountingHasher = app.extensions["tessera.hasher"]
    return hasher.counted


@pytest.fixture
def counted(limited: Flask) -> Counted:
    """What the limited service's hasher does."""
    return counted_by(limited)


@pytest.fixture
def mina(limited: Flask) -> Person:
    return new_person(limited)


@pytest.fixture
def noon() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(NOON, tick=False) as clock:
        yield clock


def sign_in(
    client: ContractClient, identifier: str, password: str = WRONG, address: str = HERE
) -> TestResponse:
    credentials = {"identifier": identifier, "password": password}
    return client.post("/v1/sessions", json=credentials, environ_overrides={"REMOTE_ADDR": address})


def fail(
    client: ContractClient, identifier: str, times: int, address: str = HERE, networks: int = 1
) -> list[int]:
    """Guess wrongly, from as many networks in turn, and return the statuses."""
    addresses = [f"2001:db8:0:{n:x}::1" for n in range(networks)] if networks > 1 else [address]
    return [sign_in(client, identifier, address=addresses[n % networks]).status_code for n in range(times)]


def test_the_eleventh_wrong_password_is_not_looked_at(mina: Person, counted: Counted) -> None:
    counted.verified = 0
    assert fail(mina.client, mina.user["username"], 12) == [401] * 10 + [429] * 2
    assert counted.verified == 10


def test_nor_is_the_right_one_then(mina: Person) -> None:
    fail(mina.client, mina.user["username"], 10)
    assert sign_in(mina.client, mina.user["username"], PASSWORD).status_code == 429


def test_the_owner_signs_in_from_another_address_meanwhile(mina: Person) -> None:
    fail(mina.client, mina.user["username"], 11)
    assert sign_in(mina.client, mina.user["username"], PASSWORD, ELSEWHERE).status_code == 201


def test_other_accounts_are_signed_in_to_from_the_same_address(limited: Flask, mina: Person) -> None:
    ken = new_person(limited)
    fail(mina.client, mina.user["username"], 11)
    assert sign_in(ken.client, ken.user["username"], PASSWORD).status_code == 201


def test_a_refusal_is_a_problem_that_says_how_long(mina: Person, noon: time_machine.Traveller) -> None:
    fail(mina.client, mina.user["username"], 10)
    noon.shift(100.5)
    refused = sign_in(mina.client, mina.user["username"])
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.get_json()["code"] == "too_many_attempts"
    assert refused.headers["Retry-After"] == "800"


def test_waiting_as_long_as_told_works(mina: Person, noon: time_machine.Traveller) -> None:
    fail(mina.client, mina.user["username"], 10)
    refused = sign_in(mina.client, mina.user["username"], PASSWORD)
    noon.shift(int(refused.headers["Retry-After"]))
    assert sign_in(mina.client, mina.user["username"], PASSWORD).status_code == 201


@pytest.mark.parametrize(
    "name", ["mina", "mina@example.com", "zo\u00eb", "nobody-at-all", "no name", "nobody@example.com"]
)
def test_whether_an_account_exists_makes_no_difference(limited: Flask, name: str) -> None:
    client = client_of(limited)
    client.post("/v1/users", json=new_details(username="mina", email="mina@example.com"))
    client.post("/v1/users", json=new_details(username="zo\u00eb"))
    assert fail(client, name, 11) == [401] * 10 + [429]


def test_every_refusal_looks_the_same(limited: Flask, counted: Counted) -> None:
    people = [new_person(limited) for _ in range(3)]
    set_user(limited, people[1].id, status="suspended")
    set_user(limited, people[2].id, status="deleted")
    seen: set[tuple[int, tuple[tuple[str, str], ...], str]] = set()
    counted.verified = 0
    names = [*(person.user["username"] for person in people), "nobody-at-all", "no name"]
    for name in names:
        for _ in range(11):
            answer = sign_in(people[0].client, name, WRONG, f"2001:db8::{len(seen)}")
            left = ("Date", "X-Request-Id", "RateLimit", "Retry-After")
            headers = tuple(sorted((k, v) for k, v in answer.headers if k not in left))
            seen.add((answer.status_code, headers, answer.text.replace(answer.get_json()["request_id"], "")))
    assert sorted(status for status, _, _ in seen) == [401, 429]
    assert counted.verified == 10 * len(names)


SPELLINGS = {
    "case": ("mina", "MINA"),
    "normal form": (unicodedata.normalize("NFC", "zo\u00eb"), unicodedata.normalize("NFD", "zo\u00eb")),
    "width": ("mina", "\uff4d\uff49\uff4e\uff41"),
    "case of an address": ("mina@example.com", "MINA@Example.COM"),
    "international domain": ("mina@b\u00fccher.example", "mina@xn--bcher-kva.example"),
}


@pytest.mark.parametrize("spellings", SPELLINGS.values(), ids=SPELLINGS)
def test_all_spellings_of_an_identifier_are_counted_together(
    limited: Flask, spellings: tuple[str, str]
) -> None:
    client = client_of(limited)
    found = [sign_in(client, spellings[n % 2]).status_code for n in range(11)]
    assert found == [401] * 10 + [429]


def test_addresses_of_one_ipv6_network_are_counted_together(mina: Person) -> None:
    found = [sign_in(mina.client, "mina", address=f"2001:db8::{n:x}").status_code for n in range(11)]
    assert found == [401] * 10 + [429]


def test_attempts_without_an_address_are_counted(mina: Person) -> None:
    assert fail(mina.client, mina.user["username"], 11, address="") == [401] * 10 + [429]


def test_one_password_for_many_accounts_is_stopped(mina: Person) -> None:
    found = [sign_in(mina.client, f"user-{number}").status_code for number in range(52)]
    assert found == [401] * 50 + [429] * 2
    assert sign_in(mina.client, "user-51", address=ELSEWHERE).status_code == 401


def test_ones_own_success_does_not_reset_the_address(mina: Person) -> None:
    for number in range(50):
        assert sign_in(mina.client, f"user-{number}").status_code == 401
        if number == 48:
            assert sign_in(mina.client, mina.user["username"], PASSWORD).status_code == 201
    assert sign_in(mina.client, mina.user["username"], PASSWORD).status_code == 429


def test_a_success_does_not_reset_the_account(mina: Person) -> None:
    name = mina.user["username"]
    fail(mina.client, name, 9)
    assert [sign_in(mina.client, name, PASSWORD).status_code for _ in range(3)] == [201] * 3
    assert fail(mina.client, name, 2) == [401, 429]


def test_successes_are_not_counted(mina: Person) -> None:
    found = [sign_in(mina.client, mina.user["username"], PASSWORD).status_code for _ in range(60)]
    assert found == [201] * 60


def test_the_right_password_of_a_suspended_account_is_counted_like_a_wrong_one(
    limited: Flask, mina: Person
) -> None:
    set_user(limited, mina.id, status="suspended")
    found = [sign_in(mina.client, mina.user["username"], PASSWORD).status_code for _ in range(11)]
    assert found == [401] * 10 + [429]


def test_200_parallel_wrong_guesses_cost_10_hashes(make_app: MakeApp, tmp_path: Path) -> None:
    mina = new_person(limiting(make_app, tmp_path))
    counted = counted_by(mina.client.application)
    counted.verified = 0
    found = in_parallel(
        200, lambda _: sign_in(client_of(mina.client.application), mina.user["username"]).status_code
    )
    assert counted.verified <= 10
    assert set(found) <= {401, 429, 503}
    assert found.count(401) <= 10


def test_8_parallel_right_passwords_all_sign_in(make_app: MakeApp, tmp_path: Path) -> None:
    mina = new_person(limiting(make_app, tmp_path))
    found = in_parallel(
        8, lambda _: sign_in(client_of(mina.client.application), mina.user["username"], PASSWORD).status_code
    )
    assert found == [201] * 8
    assert fail(mina.client, mina.user["username"], 11) == [401] * 10 + [429]


def test_an_attempt_that_was_not_looked_at_is_not_counted(
    limited: Flask, mina: Person, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Busy(CountingHasher):
        def verify(self, hashed: str | None, password: str) -> bool:
            raise Overloaded()

    with monkeypatch.context() as patched:
        patched.setitem(limited.extensions, "tessera.hasher", Busy(limited, tmp_path))
        assert fail(mina.client, mina.user["username"], 12) == [503] * 12
    assert fail(mina.client, mina.user["username"], 11) == [401] * 10 + [429]


def test_who_comes_when_too_many_wait_costs_no_write(limited: Flask, mina: Person) -> None:
    with crowded(limited.extensions["tessera.hasher"]), statements(limited) as seen:
        assert fail(mina.client, mina.user["username"], 3) == [503] * 3
    assert seen == []


# Every way to present a password of one's own, and what a wrong one gives.
WAYS: dict[str, Callable[[Person], TestResponse]] = {
    "createSession": lambda p: sign_in(p.client, p.user["username"]),
    "reauthenticateSession": lambda p: p.client.post(
        "/v1/sessions/reauthenticate",
        json={"password": WRONG},
        headers=p.bearer,
        environ_overrides={"REMOTE_ADDR": HERE},
    ),
    "changePassword": lambda p: p.client.put(
        "/v1/users/me/password",
        json={"current_password": WRONG, "new_password": PASSWORD + " 2"},
        headers=p.bearer,
        environ_overrides={"REMOTE_ADDR": HERE},
    ),
    "confirmEmail": lambda p: p.client.post(
        "/v1/email-verifications/confirm",
        json={"token": one_time_token(p, "email_verification"), "password": WRONG},
        environ_overrides={"REMOTE_ADDR": HERE},
    ),
}


@pytest.mark.parametrize("first", WAYS)
@pytest.mark.parametrize("then", WAYS)
def test_every_way_of_giving_a_password_shares_one_count(mina: Person, first: str, then: str) -> None:
    assert {WAYS[first](mina).status_code for _ in range(10)} <= {401, 403}
    refused = WAYS[then](mina)
    assert refused.status_code == 429
    assert refused.get_json()["code"] == "too_many_attempts"


def test_no_operation_takes_a_password_unthrottled(limited: Flask) -> None:
    """Whoever adds one adds it to WAYS, or says here why not."""
    created = {"createUser"}  # it makes the password up
    operations = limited.extensions["tessera"].operations.values()
    taking = {
        op.id for op in operations if {"password", "current_password"} & set(getattr(op.body, "fields", ()))
    }
    assert taking - created == set(WAYS)


def test_a_changed_password_gives_its_place_back(mina: Person) -> None:
    other = PASSWORD + " 2"
    for n in range(12):
        old, new = (PASSWORD, other) if n % 2 == 0 else (other, PASSWORD)
        body = {"current_password": old, "new_password": new}
        assert mina.call("PUT", "/v1/users/me/password", body).status_code == 204


def test_an_attack_from_many_networks_is_slowed_down(make_app: MakeApp, tmp_path: Path) -> None:
    few = {"FAILED_ATTEMPTS_PER_ACCOUNT": "20 per hour"}
    mina = new_person(limiting(make_app, tmp_path, memory_kib=64, **few))
    name = mina.user["username"]
    assert fail(mina.client, name, 20, networks=4) == [401] * 20  # five from each of them
    assert fail(mina.client, name, 10, "192.0.2.77").count(401) == 7  # in place of 10
    fail(mina.client, name, 60, networks=60)
    assert fail(mina.client, name, 10, "192.0.2.78").count(401) <= 3


def test_it_leaves_the_owner_a_try_at_every_address(make_app: MakeApp, tmp_path: Path) -> None:
    few = {"FAILED_ATTEMPTS_PER_ACCOUNT": "1 per hour"}
    mina = new_person(limiting(make_app, tmp_path, memory_kib=64, **few))
    fail(mina.client, mina.user["username"], 20, networks=20)
    for address in ("192.0.2.80", "192.0.2.80", "192.0.2.81"):
        assert sign_in(mina.client, mina.user["username"], PASSWORD, address).status_code == 201


def test_a_session_keeps_the_address_that_is_counted(make_app: MakeApp) -> None:
    mina = new_person(make_app(TRUSTED_PROXIES="127.0.0.0/8"))
    credentials = {"identifier": mina.user["username"], "password": PASSWORD}
    headers = {"X-Forwarded-For": f"{HERE}, {ELSEWHERE}"}
    answer = mina.client.post("/v1/sessions", json=credentials, headers=headers)
    assert answer.get_json()["session"]["ip"] == ELSEWHERE


def test_parallel_attempts_that_share_counters_do_not_wait_for_each_other(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app = limiting(make_app, tmp_path, memory_kib=64)
    people = [new_person(app) for _ in range(3)]

    def prove(number: int) -> int:
        person = people[number % 3]
        client = client_of(app)
        if number % 2:
            name = person.user["username" if number % 4 == 1 else "email"]
            return sign_in(client, name, PASSWORD, "127.0.0.1").status_code
        body = {"password": PASSWORD}
        return client.post("/v1/sessions/reauthenticate", json=body, headers=person.bearer).status_code

    assert set(in_parallel(24, prove)) <= {200, 201}


def rows(app: Flask) -> list[FailedAttempts]:
    with app.app_context(), db.engine.connect() as connection:
        rows = connection.execute(sa.select(FailedAttempts.__table__))
        return list(rows)  # type: ignore[arg-type]  # the rows of a table have no types


def test_what_was_typed_is_not_kept(limited: Flask, mina: Person) -> None:
    fail(mina.client, PASSWORD.replace(" ", "-"), 3)
    kept = repr(rows(limited))
    assert "correct" not in kept
    assert HERE not in kept


def test_rows_of_windows_that_have_passed_go(
    limited: Flask, noon: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_FORGOTTEN", 4)
    client = client_of(limited)
    for number in range(12):
        fail(client, f"user-{number}", 1)
    do_chores(limited)
    assert len(rows(limited)) == 12 * 2 + 1
    noon.shift(3601)
    fail(client, "other", 1)
    do_chores(limited)
    assert len(rows(limited)) == 2 + 1


def test_nothing_is_counted_when_limits_are_off(app: Flask) -> None:
    assert set(fail(client_of(app), "mina", 12)) == {401}
    assert rows(app) == []


def test_an_attempt_writes_outside_the_transaction_of_the_sign_in(limited: Flask, counted: Counted) -> None:
    mina = new_person(limited)
    counted.connections.clear()
    assert sign_in(mina.client, mina.user["username"], PASSWORD).status_code == 201
    assert counted.connections == [0]


def test_counts_of_parallel_attempts_are_exact(mina: Person, limited: Flask) -> None:
    found = Counter(
        in_parallel(24, lambda n: sign_in(client_of(limited), f"user-{n % 4}", WRONG, HERE).status_code)
    )
    assert found == {401: 24}
    assert max(row.counted for row in rows(limited)) == 24
