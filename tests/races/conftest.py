"""Fixtures of the races: a database of their own, and two pairs of servers on it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from flask import Flask

from api.app import create_app
from api.kit.db import dispose
from tests.conftest import SECRET
from tests.races.harness import (
    REUSED,
    Member,
    Pair,
    Tokens,
    new_member,
    outcome,
    refreshing,
    rotated,
    two_servers,
    using,
)
from tests.support import databases
from tests.support.waiting import wait_until

# Milliseconds; SQLite's one writer holds its lock through the pauses, and waits 2 s for it at most.
WIDEST = {"sqlite": 5, "postgresql": 10}
OVERLAP = 1  # seconds, at the strict pair
CAP = 3  # sessions of a user, at the strict pair
EXCHANGERS = 4  # people who exchange tokens there, each CAP of them


@pytest.fixture(scope="package")
def race_environ(database_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables of a production service on a database that only the races use.

    New signing keys sign after 4 seconds, not after 5 minutes.
    """
    with databases.fresh(database_kind, tmp_path_factory.mktemp("races")) as url:
        yield {
            "TESSERA_ENV": "production",
            "TESSERA_SECRET_KEY": SECRET,
            "TESSERA_PUBLIC_URL": "https://id.example.com",
            "TESSERA_DATABASE_URL": url,
            "TESSERA_DATA_DIR": str(tmp_path_factory.mktemp("data")),
            "TESSERA_MAIL_URL": f"file:{tmp_path_factory.mktemp('mail')}",
            "TESSERA_LIMITS": "off",
            "TESSERA_KEY_SET_SECONDS": "1",
            "TESSERA_CLOCK_SKEW_SECONDS": "1",
        }


@pytest.fixture(scope="package")
def race_app(race_environ: dict[str, str]) -> Iterator[Flask]:
    app = create_app(race_environ)
    try:
        yield app
    finally:
        with app.app_context():
            dispose()


@pytest.fixture
def app(race_app: Flask) -> Flask:
    """The service in this process, to look beneath HTTP; whoever races signs up anew."""
    return race_app


@pytest.fixture(scope="package")
def shared_pair(
    database_kind: str,
    race_app: Flask,
    race_environ: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    with two_servers(race_app, race_environ, folder, WIDEST[database_kind]) as running:
        yield running


@pytest.fixture(scope="package")
def shared_strict_pair(
    database_kind: str,
    race_app: Flask,
    race_environ: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    own = {"TESSERA_REFRESH_OVERLAP_SECONDS": str(OVERLAP), "TESSERA_SESSIONS_PER_USER": str(CAP)}
    folder = tmp_path_factory.mktemp("strict")
    with two_servers(race_app, race_environ | own, folder, WIDEST[database_kind]) as running:
        yield running


@pytest.fixture
def pair(shared_pair: Pair) -> Pair:
    """Two servers."""
    shared_pair.rest()  # a test that failed may have left off in a wide round
    return shared_pair


@pytest.fixture
def strict_pair(shared_strict_pair: Pair) -> Pair:
    """Two servers with a short overlap, and few sessions a user."""
    shared_strict_pair.rest()
    return shared_strict_pair


@pytest.fixture
def member(pair: Pair) -> Member:
    """Somebody who has signed up at the pair."""
    return new_member(pair)


@dataclass
class Exchanged:
    """Pairs of tokens: those that were exchanged over an overlap ago, and what came of it."""

    used: list[tuple[Tokens, Tokens]]
    lost: list[tuple[Tokens, Tokens]]


@pytest.fixture(scope="package")
def all_exchanged(shared_strict_pair: Pair) -> Exchanged:
    pair = shared_strict_pair
    members = [new_member(pair) for _ in range(EXCHANGERS)]
    signed_in = [tokens for member in members for tokens in member.sign_in_often(CAP)]
    pairs = [(old, rotated(pair, old)) for old in signed_in]
    used, lost = pairs[2:], pairs[:2]
    for number, (_, new) in enumerate(used):
        assert pair.send(using(number % 2, new)).status == 200
    _wait_for_overlap(pair)
    return Exchanged(used, lost)


def _wait_for_overlap(pair: Pair) -> None:
    """Wait until the overlap of all that was exchanged before is over.

    Until then the token before the current one is accepted, and changes nothing. So a session of its own,
    exchanged after all others, shows when it is.
    """
    old = new_member(pair).sign_in()
    assert pair.send(using(0, rotated(pair, old))).status == 200
    is_over = refreshing(0, old["refresh_token"])
    wait_until(lambda: outcome(pair.send(is_over)) == REUSED, "the overlap is over")


@pytest.fixture
def exchanged(all_exchanged: Exchanged) -> Exchanged:
    """Tokens that were exchanged at the strict pair, longer ago than the overlap: take, and use up.

    Those in `used` have a successor that was used, those in `lost` one that was not.
    """
    return all_exchanged
