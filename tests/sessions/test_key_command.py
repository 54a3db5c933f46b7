"""`tessera key`: what an operator sees of the signing keys, and does to them."""

import re
from pathlib import Path

import pytest
import time_machine
from flask import Flask

from api.app import create_app
from api.kit.db import dispose
from tests.conftest import SECRET, MakeApp
from tests.support import databases
from tests.support.clients import client_of, new_person
from tests.support.commands import Ended, tessera, tessera_here, tessera_of
from tests.support.signing import published_kids, signing_key

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
KID = r"[\w-]{43}"
RELOAD, LEAD = 2, 332  # seconds
NO_SUCH_KEY = "Error: There is no such key. See: tessera key list\n"


def lines(ended: Ended) -> list[str]:
    assert (ended.code, ended.errors) == (0, ""), ended
    return ended.output.splitlines()


@pytest.mark.parametrize("words", [("key",), ("key", "list"), ("key", "rotate"), ("key", "retire")])
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    ended = tessera_here(*words, "--help", environ={})
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output.startswith(f"Usage: tessera {' '.join(words)} ")


def test_the_list_of_a_new_service_makes_its_first_key(
    isolated_environ: dict[str, str], make_isolated: MakeApp
) -> None:
    [line] = lines(tessera("key", "list", environ=isolated_environ))
    assert re.fullmatch(rf"{KID}  signs, from {TIME}", line)
    assert published_kids(make_isolated()) == [line[:43]]


def test_the_list_shows_what_each_key_does(make_isolated: MakeApp, clock: time_machine.Traveller) -> None:
    lines(tessera_of(make_isolated(), "key", "list"))
    lines(tessera_of(make_isolated(), "key", "rotate"))
    before = lines(tessera_of(make_isolated(), "key", "list"))
    assert [re.sub(f"^{KID}", "KID", re.sub(TIME, "TIME", line)) for line in before] == [
        "KID  is published, from TIME",
        "KID  signs, from TIME, until TIME",
    ]
    clock.shift(LEAD)
    after = lines(tessera_of(make_isolated(), "key", "list"))
    assert [line[44:].split(",")[0].strip() for line in after] == ["signs", "verifies"]
    assert [line[:43] for line in after] == [line[:43] for line in before]


def test_a_rotation_shows_the_new_key(make_isolated: MakeApp, clock: time_machine.Traveller) -> None:
    app = make_isolated()
    old = signing_key(app).kid
    new, still = (line[:43] for line in lines(tessera_of(make_isolated(), "key", "rotate")))
    assert still == old
    clock.shift(RELOAD)
    assert published_kids(app) == [new, old]


def test_a_service_that_has_no_key_yet_can_be_told_to_rotate(make_isolated: MakeApp) -> None:
    assert lines(tessera_of(make_isolated(), "key", "rotate"))


def test_a_rotation_signs_nobody_out(make_isolated: MakeApp, clock: time_machine.Traveller) -> None:
    app = make_isolated()
    person = new_person(app)
    tessera_of(make_isolated(), "key", "rotate")
    clock.shift(RELOAD)
    assert person.call("GET", "/v1/users/me").status_code == 200


def test_a_retirement_says_what_it_did(make_isolated: MakeApp) -> None:
    kid = signing_key(make_isolated()).kid
    said, line = lines(tessera_of(make_isolated(), "key", "retire", kid))
    assert said == "Retired. Within 2 seconds every process refuses its tokens."
    assert re.fullmatch(rf"{KID}  signs, from {TIME}", line)
    assert line[:43] != kid


def test_a_retirement_ends_the_tokens_of_the_key(
    make_isolated: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_isolated()
    person = new_person(app)
    tessera_of(make_isolated(), "key", "retire", signing_key(app).kid)
    clock.shift(RELOAD)
    assert client_of(app).get("/v1/users/me", headers=person.bearer).status_code == 401


def test_a_key_that_is_none_is_told(make_isolated: MakeApp) -> None:
    app = make_isolated()
    before = published_kids(app)
    for kid in ("nobodys", "", "' OR 1=1 --", "\u00e9", "k" * 5000):
        ended = tessera_of(app, "key", "retire", kid)
        assert (ended.code, ended.output) == (1, "")
        assert ended.errors == NO_SUCH_KEY
    assert published_kids(make_isolated()) == before


def test_a_key_whose_name_begins_with_a_hyphen_is_a_key(make_isolated: MakeApp) -> None:
    app = make_isolated()
    for kid in (f"-{'k' * 42}", f"-h{'k' * 41}", f"--{'k' * 41}"):  # one in 64 begins with a hyphen
        ended = tessera_of(app, "key", "retire", kid)
        assert (ended.code, ended.errors) == (1, NO_SUCH_KEY)


def test_which_key_to_retire_must_be_said(make_isolated: MakeApp) -> None:
    ended = tessera_of(make_isolated(), "key", "retire")
    assert ended.code == 2
    assert "Missing argument 'KID'" in ended.errors


def test_a_database_without_tables_is_told(tmp_path: Path, database_kind: str) -> None:
    with databases.fresh(database_kind, tmp_path, migrated=False) as url:
        app = _app_at(url, tmp_path)
        for arguments in (["list"], ["rotate"], ["retire", "x"]):
            ended = tessera_of(app, "key", *arguments)
            assert (ended.code, ended.output) == (1, "")
            assert ended.errors == "Error: The database is not migrated. Run: tessera migrate\n"
        with app.app_context():
            dispose()


def test_no_part_of_a_private_key_is_shown(make_isolated: MakeApp) -> None:
    app = make_isolated()
    number = signing_key(app).private.private_numbers().private_value
    shown = tessera_of(make_isolated(), "key", "list").all + tessera_of(make_isolated(), "key", "rotate").all
    assert f"{number:x}" not in shown
    assert len(max(re.findall(r"[\w+/=-]+", shown), key=len)) == 43  # a kid


def _app_at(url: str, folder: Path) -> Flask:
    return create_app(
        {"TESSERA_SECRET_KEY": SECRET, "TESSERA_DATABASE_URL": url, "TESSERA_DATA_DIR": str(folder)}
    )
