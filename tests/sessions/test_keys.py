"""Signing keys: made, sealed, published before they sign, rotated, retired, and never asked for in vain."""

import base64
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
import sqlalchemy as sa
import time_machine
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask

from api.app import create_app
from api.kit.db import db, dispose
from api.kit.secrets import Seal, derive
from api.sessions import keys
from api.sessions.keys import keyring, make_key
from api.sessions.models import SigningKey
from tests.conftest import SECRET, MakeApp
from tests.support import databases
from tests.support.clients import Person, client_of, new_person
from tests.support.signing import (
    kid_of,
    published_kids,
    readable_forms,
    retire,
    rotate,
    signing_key,
    stored_keys,
)
from tests.support.watching import in_parallel

ME = "/v1/users/me"
KEY_SET = "/.well-known/jwks.json"
METADATA = "/.well-known/oauth-authorization-server"
URL = "https://id.example.com"
DAY = 86400
RELOAD = 2  # seconds, after which a process reads the keys again
LEAD = 300 + RELOAD + 30  # from the publication of a key to its first signature, by default
AFTERMATH = 900 + RELOAD + 2 * 30  # from then to the end of the key before
OTHER_SECRET = "b7d1f3a5c9e8d2b4f6a08c1e3d5b7f9a"


def status(app: Flask, person: Person) -> int:
    """Return what an app answers to a person's access token."""
    return client_of(app).get(ME, headers=person.bearer).status_code


def renew(person: Person) -> str:
    """Refresh, and return the id of the key that signed what came."""
    answer = person.refresh()
    assert answer.status_code == 200, answer.text
    person.tokens = answer.get_json()
    return kid_of(person.tokens["access_token"])


# The first key


def test_a_service_makes_its_first_key_when_it_needs_one(make_isolated: MakeApp) -> None:
    app = make_isolated()
    assert stored_keys(app) == []
    assert published_kids(app) == [row.kid for row in stored_keys(app)]
    assert len(stored_keys(app)) == 1


def test_the_first_key_signs_at_once(make_isolated: MakeApp) -> None:
    app = make_isolated()
    assert [kid_of(new_person(app).tokens["access_token"])] == published_kids(app)


def test_a_service_that_starts_again_keeps_its_key(make_isolated: MakeApp) -> None:
    assert published_kids(make_isolated()) == published_kids(make_isolated())


def test_a_token_of_one_service_is_good_at_another_on_the_same_database(make_isolated: MakeApp) -> None:
    person = new_person(make_isolated())
    assert status(make_isolated(), person) == 200


def test_services_that_make_the_first_key_at_once_have_the_same_one(make_isolated: MakeApp) -> None:
    apps = [make_isolated() for _ in range(4)]
    seen = in_parallel(4, lambda number: signing_key(apps[number]).kid)
    assert seen == [row.kid for row in stored_keys(apps[0])] * 4


def test_of_keys_that_are_made_at_once_one_stays(make_isolated: MakeApp) -> None:
    app = make_isolated()

    def make(_: int) -> None:
        with app.app_context():
            make_key(keyring().seal, after=0, signs_from=datetime.now(UTC))

    in_parallel(4, make)
    assert [row.number for row in stored_keys(app)] == [1]


# At rest


def test_the_private_key_is_stored_sealed(make_isolated: MakeApp) -> None:
    app = make_isolated()
    private = signing_key(app).private
    [row] = stored_keys(app)
    kept = row.private_key.encode()
    for readable in readable_forms(private):
        assert readable not in kept
        assert readable not in base64.urlsafe_b64decode(kept)


def test_the_stored_key_is_opened_by_the_secret(make_isolated: MakeApp) -> None:
    app = make_isolated()
    kid = signing_key(app).kid
    opened = Seal([derive(SECRET, "signing-key")]).open(stored_keys(app)[0].private_key)
    key = serialization.load_der_private_key(opened, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert kid == stored_keys(app)[0].kid
    assert key.private_numbers() == signing_key(app).private.private_numbers()


@pytest.mark.parametrize(
    ("secret", "purpose"),
    [(OTHER_SECRET, "signing-key"), (SECRET, "refresh-token"), (SECRET, "cursor"), (SECRET, "")],
)
def test_the_stored_key_is_opened_by_nothing_else(make_isolated: MakeApp, secret: str, purpose: str) -> None:
    app = make_isolated()
    signing_key(app)
    with pytest.raises(ValueError, match="not sealed"):
        Seal([derive(secret, purpose)]).open(stored_keys(app)[0].private_key)


def test_a_key_of_another_secret_is_left_alone_and_a_new_one_is_made(make_isolated: MakeApp) -> None:
    one, other = make_isolated(), make_isolated(SECRET_KEY=OTHER_SECRET)
    [of_one] = published_kids(one)
    sealed = stored_keys(one)[0].private_key
    [of_other] = published_kids(other)
    assert [row.kid for row in stored_keys(one)] == [of_other, of_one]
    assert stored_keys(one)[1].private_key == sealed


def test_a_key_that_is_sealed_under_the_name_of_another_is_not_used(make_isolated: MakeApp) -> None:
    app = make_isolated()
    kid = signing_key(app).kid
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(sa.text("UPDATE signing_keys SET kid = 'another'"))
    assert set(published_kids(make_isolated())).isdisjoint({kid, "another"})


def test_a_key_that_is_not_ours_to_read_is_no_fault(make_isolated: MakeApp) -> None:
    app = make_isolated()
    signing_key(app)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(sa.text("UPDATE signing_keys SET private_key = 'nonsense'"))
    assert len(published_kids(make_isolated())) == 1


# Rotation


def test_a_new_key_is_published_at_once(make_isolated: MakeApp, clock: time_machine.Traveller) -> None:
    app = make_isolated()
    [old] = published_kids(app)
    new = rotate(make_isolated())
    clock.shift(RELOAD)
    assert published_kids(app) == [new, old]


TIMES = pytest.mark.parametrize(
    ("settings", "lead", "aftermath"),
    [
        ({}, LEAD, AFTERMATH),
        ({"KEY_SET_SECONDS": "60", "CLOCK_SKEW_SECONDS": "0", "ACCESS_TOKEN_SECONDS": "60"}, 62, 62),
    ],
    ids=["default", "short"],
)


@TIMES
def test_a_new_key_signs_once_everybody_has_read_it(
    make_isolated: MakeApp,
    clock: time_machine.Traveller,
    settings: dict[str, str],
    lead: int,
    aftermath: int,
) -> None:
    app = make_isolated(**settings)
    person = new_person(app)
    [old] = published_kids(app)
    new = rotate(make_isolated(**settings))
    clock.shift(lead - 1)
    assert renew(person) == old
    clock.shift(1)
    assert renew(person) == new


@TIMES
def test_an_old_key_is_gone_once_its_last_token_has_died(
    make_isolated: MakeApp,
    clock: time_machine.Traveller,
    settings: dict[str, str],
    lead: int,
    aftermath: int,
) -> None:
    app = make_isolated(**settings)
    [old] = published_kids(app)
    new = rotate(make_isolated(**settings))
    clock.shift(lead + aftermath - 1)
    assert published_kids(app) == [new, old]
    clock.shift(1)
    assert published_kids(app) == [new]
    clock.shift(RELOAD)
    assert published_kids(app) == [new]
    assert [row.kid for row in stored_keys(app)] == [new]


def test_the_last_token_of_an_old_key_is_good_to_its_end(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_isolated()
    person = new_person(app)
    rotate(make_isolated())
    clock.shift(LEAD - 1)
    old = renew(person)
    expires_in = person.tokens["expires_in"]
    clock.shift(expires_in + 29)  # within the difference of clocks
    assert old in published_kids(app)
    assert [status(one, person) for one in (app, make_isolated())] == [200, 200]
    clock.shift(1)
    assert status(app, person) == 401


def test_no_token_dies_before_its_time_while_keys_rotate(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    apps = [make_isolated(), make_isolated()]
    person = new_person(apps[0])
    held: list[tuple[str, int]] = []
    for now in range(0, 3600, 300):
        if now % 900 == 0:
            rotate(apps[0])
        renew(person)
        held = [(token, end) for token, end in held if end > now]
        held.append((person.tokens["access_token"], now + person.tokens["expires_in"]))
        for token, end in held:
            bearer = {"Authorization": f"Bearer {token}"}
            seen = [app.test_client().get(ME, headers=bearer).status_code for app in apps]
            assert seen == [200, 200], f"{now} of {end}"
        clock.shift(300)


def test_who_keeps_the_key_set_as_long_as_allowed_knows_every_key_that_signs(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_isolated(CLOCK_SKEW_SECONDS="0")
    person = new_person(app)
    for at in range(0, 1200, 100):
        if at % 300 == 0:
            kept = published_kids(app)  # and now for 300 seconds
        if at % 400 == 0:
            rotate(make_isolated(CLOCK_SKEW_SECONDS="0"))
        clock.shift(99)
        assert renew(person) in kept, at
        clock.shift(1)


def test_a_key_gets_a_successor_by_age(make_isolated: MakeApp, clock: time_machine.Traveller) -> None:
    app = make_isolated(SIGNING_KEY_DAYS="1")
    person = new_person(app)
    clock.shift(DAY - RELOAD)
    [old] = published_kids(app)
    clock.shift(RELOAD)
    [new, still] = published_kids(app)
    assert still == old
    assert renew(person) == old
    clock.shift(LEAD)
    assert renew(person) == new


def test_services_that_notice_the_age_at_once_make_one_successor(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    apps = [make_isolated(SIGNING_KEY_DAYS="1") for _ in range(4)]
    for app in apps:
        signing_key(app)
    clock.shift(DAY)
    in_parallel(4, lambda number: signing_key(apps[number]))
    assert [row.number for row in stored_keys(apps[0])] == [2, 1]


def test_a_successor_by_age_is_made_once(make_isolated: MakeApp, clock: time_machine.Traveller) -> None:
    app = make_isolated(SIGNING_KEY_DAYS="1")
    signing_key(app)
    clock.shift(DAY)
    for _ in range(3):
        signing_key(app)
        clock.shift(RELOAD)
    assert [row.number for row in stored_keys(app)] == [2, 1]


def test_a_service_that_rested_for_years_starts_again(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_isolated()
    signing_key(app)
    clock.shift(900 * DAY)
    person = new_person(make_isolated())
    assert status(app, person) == 200


def test_a_clock_that_goes_back_ends_no_key(make_isolated: MakeApp, clock: time_machine.Traveller) -> None:
    clock.shift(3600)
    app = make_isolated()
    [kid] = published_kids(app)
    clock.shift(-3600)
    assert published_kids(app) == [kid]
    assert status(app, new_person(app)) == 200


# Retirement


def test_the_tokens_of_a_retired_key_are_refused_within_two_seconds(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_isolated()
    person = new_person(app)
    assert status(app, person) == 200  # so that its signature is known to be good
    assert retire(make_isolated(), signing_key(app).kid)
    clock.shift(RELOAD)
    answer = person.call("GET", ME)
    assert (answer.status_code, answer.get_json()["code"]) == (401, "invalid_token")


def test_the_tokens_of_a_retired_key_are_not_read_for_the_first_time_either(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_isolated()
    person = new_person(app)
    retire(make_isolated(), signing_key(app).kid)
    assert status(make_isolated(), person) == 401


def test_a_refresh_after_a_retirement_gives_a_good_token(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_isolated()
    person = new_person(app)
    kid = signing_key(app).kid
    retire(make_isolated(), kid)
    clock.shift(RELOAD)
    assert renew(person) != kid
    assert [status(one, person) for one in (app, make_isolated())] == [200, 200]


def test_a_retired_key_leaves_the_key_set_and_the_table(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_isolated()
    kid = signing_key(app).kid
    retire(make_isolated(), kid)
    clock.shift(RELOAD)
    assert kid not in published_kids(app)
    assert kid not in {row.kid for row in stored_keys(app)}


def test_retiring_a_key_that_does_not_sign_yet_keeps_the_one_that_does(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_isolated()
    person = new_person(app)
    [old] = published_kids(app)
    retire(app, rotate(app))
    clock.shift(RELOAD)
    assert published_kids(app) == [old]
    assert status(app, person) == 200
    assert renew(person) == old


def test_the_key_that_signs_outlives_a_successor_that_was_retired(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_isolated()
    person = new_person(app)
    retire(app, rotate(app))
    clock.shift(LEAD + AFTERMATH - 10)
    renew(person)
    clock.shift(20)
    assert status(app, person) == 200


def test_retiring_a_key_that_signs_no_more_keeps_the_one_that_does(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_isolated()
    person = new_person(app)
    [old] = published_kids(app)
    new = rotate(app)
    clock.shift(LEAD)
    renew(person)
    assert retire(app, old)
    clock.shift(RELOAD)
    assert published_kids(app) == [new]
    assert status(app, person) == 200


def test_retiring_the_key_that_signs_does_not_wait_for_its_successor(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_isolated()
    person = new_person(app)
    [old] = published_kids(app)
    rotate(app)
    retire(app, old)
    clock.shift(RELOAD)
    renew(person)
    assert status(app, person) == 200
    clock.shift(LEAD)
    assert status(app, person) == 200


def test_what_is_no_key_is_not_retired(make_isolated: MakeApp) -> None:
    app = make_isolated()
    kids = published_kids(app)
    assert not retire(app, "nobodys")
    assert [row.kid for row in stored_keys(app)] == kids


# The key set


def test_the_key_set_says_how_long_it_may_be_kept(make_isolated: MakeApp) -> None:
    for app, seconds in ((make_isolated(), 300), (make_isolated(KEY_SET_SECONDS="17"), 17)):
        for path in (KEY_SET, METADATA):
            answer = client_of(app).get(path)
            assert answer.headers["Cache-Control"] == f"public, max-age={seconds}"


def test_a_key_set_that_is_known_is_not_sent_again(make_isolated: MakeApp) -> None:
    client = client_of(make_isolated())
    tag = client.get(KEY_SET).headers["ETag"]
    again = client.get(KEY_SET, headers={"If-None-Match": tag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    assert again.headers["Cache-Control"] == "public, max-age=300"


def test_the_tag_of_the_key_set_changes_with_its_keys(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_isolated()
    client = client_of(app)
    tags = [client.get(KEY_SET).headers["ETag"]]
    rotate(app)
    for seconds in (RELOAD, LEAD + AFTERMATH):
        clock.shift(seconds)
        changed = client.get(KEY_SET, headers={"If-None-Match": tags[-1]})
        assert changed.status_code == 200
        tags.append(changed.headers["ETag"])
    assert len(set(tags)) == 3


def test_a_key_that_does_not_sign_yet_shows_public_parts_only(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_isolated()
    signing_key(app)
    rotate(app)
    clock.shift(RELOAD)
    keys = client_of(app).get(KEY_SET).get_json()["keys"]
    assert [key.keys() for key in keys] == [{"kty", "crv", "x", "y", "kid", "alg", "use"}] * 2


def test_the_key_set_fits_its_contract_after_many_rotations(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_isolated()
    signing_key(app)
    for _ in range(25):
        rotate(app)
    clock.shift(RELOAD)
    assert client_of(app).get(KEY_SET).status_code == 200  # whose answer is held against the contract


def test_the_service_says_where_its_keys_are(make_isolated: MakeApp) -> None:
    told = client_of(make_isolated()).get(METADATA).get_json()
    found = {name: told[name] for name in ("issuer", "jwks_uri", "revocations_uri")}
    assert found == {
        "issuer": URL,
        "jwks_uri": f"{URL}{KEY_SET}",
        "revocations_uri": f"{URL}/v1/revocations",
    }


def test_the_issuer_of_tokens_is_the_one_that_is_told(make_isolated: MakeApp) -> None:
    app = make_isolated()
    claims = jwt.decode(new_person(app).tokens["access_token"], options={"verify_signature": False})
    assert claims["iss"] == client_of(app).get(METADATA).get_json()["issuer"]


# Without a database


@contextmanager
def _abandoned(kind: str, folder: Path) -> Iterator[tuple[Flask, Callable[[], None]]]:
    """Yield an app, and what takes its database away."""
    manager = databases.fresh(kind, folder)
    url = manager.__enter__()
    path = Path(url.removeprefix("sqlite:///"))
    app = create_app(
        {
            "TESSERA_SECRET_KEY": SECRET,
            "TESSERA_DATABASE_URL": url,
            "TESSERA_DATA_DIR": str(folder),
        }
    )

    def close() -> None:
        with app.app_context():
            dispose()

    def take_away() -> None:
        close()
        manager.__exit__(None, None, None)
        if kind == "sqlite":
            path.unlink()
            path.mkdir()

    yield app, take_away
    close()
    if path.is_dir():
        path.rmdir()
    shutil.rmtree(folder)


def test_while_the_database_does_not_answer_the_known_keys_go_on(
    database_kind: str, tmp_path: Path, clock: time_machine.Traveller
) -> None:
    with _abandoned(database_kind, tmp_path) as (app, take_away):
        kids = published_kids(app)
        take_away()
        for _ in range(2):
            clock.shift(RELOAD + 1)
            assert published_kids(app) == kids
        assert client_of(app).get("/health/ready").status_code == 503  # it is really gone


def test_a_retired_key_is_refused_though_nothing_can_be_written(
    make_isolated: MakeApp, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here what is due is a successor, which the database does not take."""
    app = make_isolated()
    person = new_person(app)
    retire(make_isolated(), signing_key(app).kid)
    with app.app_context(), db.engine.begin() as connection:
        long_ago = datetime.now(UTC) - timedelta(days=91)
        connection.execute(sa.update(SigningKey).values(created_at=long_ago))

    def refuse(*_: object, **__: object) -> None:
        raise sa.exc.OperationalError("", {}, Exception("the disk is full"))

    monkeypatch.setattr(keys, "make_key", refuse)
    clock.shift(RELOAD + 1)
    assert status(app, person) == 401


def test_a_service_that_never_read_a_key_says_that_the_database_is_gone(
    database_kind: str, tmp_path: Path
) -> None:
    with _abandoned(database_kind, tmp_path) as (app, take_away):
        take_away()
        assert client_of(app).get(KEY_SET).status_code == 503


# The end of a session


def test_no_access_token_outlives_its_session(make_app: MakeApp, clock: time_machine.Traveller) -> None:
    person = new_person(make_app(SESSION_ABSOLUTE_SECONDS="600"))
    for seconds in (0, 500):
        clock.shift(seconds)
        renew(person)
        claims = jwt.decode(person.tokens["access_token"], options={"verify_signature": False})
        assert claims["exp"] == claims["auth_time"] + 600
        assert person.tokens["expires_in"] == 600 - seconds


def test_a_token_ends_before_its_session_as_usual(mina: Person) -> None:
    assert mina.tokens["expires_at"] < mina.tokens["session"]["expires_at"]
