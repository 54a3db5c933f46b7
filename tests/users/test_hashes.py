"""What becomes of stored hashes when people sign in: a pepper, and hashes that other systems made."""

import re
from pathlib import Path

import bcrypt
import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import VerifyMismatchError
from flask import Flask
from werkzeug.security import generate_password_hash

from api.app import create_app
from api.kit.problems import Overloaded
from api.kit.settings import SettingsError
from tests.conftest import MakeApp
from tests.support.clients import PASSWORD, Person, client_of, new_person
from tests.support.watching import CountingHasher, set_user, user_row

OLD, NEW = "4b1f0c7e92a85d36" * 2, "e7d20a5c81f3964b" * 2
FOREIGN = {
    "bcrypt": bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode(),
    "scrypt": generate_password_hash(PASSWORD, "scrypt:1024:8:1"),
    "pbkdf2": generate_password_hash(PASSWORD, "pbkdf2:sha256:1000"),
    "argon2i": PasswordHasher(1, 1024, 2, type=Type.I).hash(PASSWORD),
    "weak argon2id": PasswordHasher(1, 1024, 1).hash(PASSWORD),
    # The example of github.com/firebase/scrypt.
    "Firebase": "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,"
    "sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=="
    "$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==",
}
PASSWORDS = dict.fromkeys(FOREIGN, PASSWORD) | {"Firebase": "user1password"}


def sign_in(app: Flask, person: Person, password: str = PASSWORD) -> int:
    credentials = {"identifier": person.user["username"], "password": password}
    return client_of(app).post("/v1/sessions", json=credentials).status_code


def stored(app: Flask, person: Person) -> str:
    return user_row(app, person.id).password_hash


def key_id(app: Flask, person: Person) -> str | None:
    found = re.search(r",keyid=([^$]+)\$", stored(app, person))
    return found and found[1]


def test_a_pepper_is_mixed_into_the_hash_of_whoever_signs_in(
    app: Flask, make_app: MakeApp, mina: Person
) -> None:
    assert key_id(app, mina) is None
    with_pepper = make_app(PEPPER=NEW)
    assert [sign_in(with_pepper, mina), sign_in(with_pepper, mina)] == [201, 201]
    assert key_id(app, mina) is not None
    assert sign_in(with_pepper, mina, "not the password") == 401


def test_the_database_alone_does_not_tell_whether_a_password_is_right(make_app: MakeApp) -> None:
    app = make_app(PEPPER=NEW)
    dumped = re.sub(",keyid=[^$]+", "", stored(app, new_person(app)))
    with pytest.raises(VerifyMismatchError):
        PasswordHasher().verify(dumped, PASSWORD)


def test_a_pepper_is_rotated_by_signing_in(make_app: MakeApp) -> None:
    before, between, after = make_app(PEPPER=OLD), make_app(PEPPER=f"{NEW},{OLD}"), make_app(PEPPER=NEW)
    person = new_person(before)
    old = key_id(before, person)
    assert sign_in(between, person) == 201
    assert key_id(between, person) not in (None, old)
    assert sign_in(after, person) == 201


def test_a_pepper_that_is_left_out_too_early_refuses_and_changes_nothing(make_app: MakeApp) -> None:
    before, after = make_app(PEPPER=OLD), make_app(PEPPER=NEW)
    person = new_person(before)
    kept = stored(before, person)
    assert sign_in(after, person) == 401
    assert stored(before, person) == kept
    assert sign_in(before, person) == 201


@pytest.mark.parametrize("pepper", ["short", "password" * 5, f"{NEW},short"])
def test_a_pepper_that_is_none_is_refused_at_the_start(environ: dict[str, str], pepper: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        create_app(environ | {"TESSERA_PEPPER": pepper})
    assert [line.partition(":")[0] for line in refusal.value.errors] == ["TESSERA_PEPPER"]
    assert pepper not in str(refusal.value)


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_hash_from_elsewhere_is_upgraded_by_signing_in(app: Flask, mina: Person, kind: str) -> None:
    set_user(app, mina.id, password_hash=FOREIGN[kind])
    assert sign_in(app, mina, PASSWORDS[kind]) == 201
    parameters = extract_parameters(stored(app, mina))
    assert (parameters.type, parameters.memory_cost, parameters.time_cost) == (
        Type.ID,
        64,
        1,
    )  # the tests' own
    assert sign_in(app, mina, PASSWORDS[kind]) == 201


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_wrong_password_upgrades_nothing(app: Flask, mina: Person, kind: str) -> None:
    set_user(app, mina.id, password_hash=FOREIGN[kind])
    assert sign_in(app, mina, PASSWORDS[kind].upper()) == 401
    assert stored(app, mina) == FOREIGN[kind]


class _TooBusyToHash(CountingHasher):
    """Verifies, but has no place for a new hash."""

    def hash(self, password: str) -> str:
        raise Overloaded()


def test_an_upgrade_that_fails_refuses_nobody(
    app: Flask, mina: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_user(app, mina.id, password_hash=FOREIGN["bcrypt"])
    monkeypatch.setitem(app.extensions, "tessera.hasher", _TooBusyToHash(app, tmp_path))
    assert sign_in(app, mina) == 201
    assert stored(app, mina) == FOREIGN["bcrypt"]


def test_an_upgrade_changes_no_entity_tag(app: Flask, mina: Person) -> None:
    before = mina.call("GET", "/v1/users/me").headers["ETag"]
    set_user(app, mina.id, password_hash=FOREIGN["bcrypt"])
    sign_in(app, mina)
    assert mina.call("GET", "/v1/users/me").headers["ETag"] == before


def test_after_the_upgrade_the_whole_password_counts(app: Flask, mina: Person) -> None:
    """bcrypt compared the first 72 bytes: what opened then opens once more."""
    chosen = "b" * 72 + " and more"
    hashed = bcrypt.hashpw(chosen.encode()[:72], bcrypt.gensalt(4)).decode()
    set_user(app, mina.id, password_hash=hashed)
    assert sign_in(app, mina, chosen) == 201
    assert sign_in(app, mina, "b" * 72) == 401
    assert sign_in(app, mina, chosen) == 201


def test_a_hash_from_elsewhere_is_upgraded_to_the_pepper(make_app: MakeApp) -> None:
    app = make_app(PEPPER=NEW)
    person = new_person(app)
    set_user(app, person.id, password_hash=FOREIGN["bcrypt"])
    assert [sign_in(app, person), sign_in(app, person)] == [201, 201]
    assert key_id(app, person) is not None


def test_a_hash_that_costs_too_much_opens_to_nobody(app: Flask, mina: Person) -> None:
    dear = generate_password_hash(PASSWORD, "pbkdf2:sha256:1000").replace(":1000$", ":2000001$")
    set_user(app, mina.id, password_hash=dear)
    assert sign_in(app, mina) == 401


def test_a_password_from_elsewhere_is_changed(app: Flask, mina: Person) -> None:
    set_user(app, mina.id, password_hash=FOREIGN["scrypt"])
    change = {"current_password": PASSWORD, "new_password": "quite another sentence"}
    assert mina.call("PUT", "/v1/users/me/password", change).status_code == 204
    assert sign_in(app, mina, "quite another sentence") == 201
