"""`tessera user list`: the list from the shell."""

import json

import pytest
from flask import Flask

from api.users import list_command
from api.users.models import SUSPENDED
from tests.support.clients import Person
from tests.support.commands import tessera_of
from tests.support.population import add_users
from tests.support.watching import set_user


def lines(app: Flask, *options: str) -> list[str]:
    ended = tessera_of(app, "user", "list", *options)
    assert (ended.code, ended.errors) == (0, ""), ended
    return ended.output.splitlines()


def test_each_user_has_a_line(app: Flask, mina: Person, ken: Person) -> None:
    [first, second] = lines(app)
    assert ken.id in first
    assert mina.id in second
    assert mina.user["email"] in second


def test_json_is_what_the_api_gives(app: Flask, mina: Person) -> None:
    [line] = lines(app, "--json")
    assert json.loads(line) == mina.call("GET", "/v1/users/me").get_json()


@pytest.mark.parametrize("limit", ["1", "3", "4", "7"])
def test_pages_are_walked_up_to_the_limit(app: Flask, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(list_command, "_PAGE", 3)
    people = add_users(app, 10)
    assert len(lines(app)) == 10
    listed = [json.loads(line)["id"] for line in lines(app, "--json", "--oldest-first", "--limit", limit)]
    assert listed == sorted(people)[: int(limit)]


def test_filters_choose(app: Flask, mina: Person, ken: Person) -> None:
    set_user(app, ken.id, status=SUSPENDED, email_verified=True)
    for options in (
        ["--status", "suspended"],
        ["--verified"],
        ["--email", ken.user["email"].upper()],
        ["--username", ken.user["username"]],
        ["--q", ken.user["username"][3:]],
    ):
        [line] = lines(app, *options)
        assert ken.id in line
    [line] = lines(app, "--unverified")
    assert mina.id in line
    assert lines(app, "--q", "nobody at all") == []


def test_nobody_writes_to_the_terminal_of_who_lists(app: Flask) -> None:
    add_users(app, 1, rows=[{"display_name": "\x1b[31mred\u202e"}])
    [line] = lines(app)
    assert line.isprintable()


@pytest.mark.parametrize("options", [["--limit", "0"], ["--status", "gone"], ["--q", "x" * 201]])
def test_what_cannot_be_asked_is_told(app: Flask, options: list[str]) -> None:
    ended = tessera_of(app, "user", "list", *options)
    assert ended.code == 2
    assert options[0] in ended.errors


@pytest.mark.parametrize("option", ["--q", "--email", "--username"])
def test_what_is_no_utf8_is_nobodys(app: Flask, option: str) -> None:
    ended = tessera_of(app, "user", "list", option, "\udcff")
    assert ended.code == 2
    assert "Must be UTF-8" in ended.errors
