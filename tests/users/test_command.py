"""`tessera user create`: the first administrator, made from the shell."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.support import databases
from tests.support.clients import PASSWORD, Person, client_of, new_details
from tests.support.commands import Ended, tessera, tessera_here

STDIN = f"{PASSWORD}\n".encode()


def arguments(*more: str, **changed: str) -> list[str]:
    details = new_details() | changed
    named = ["--username", details["username"], "--email", details["email"]]
    return ["user", "create", *named, "--password-stdin", *more]


def create(environ: dict[str, str], *more: str, stdin: bytes = STDIN, **changed: str) -> Ended:
    return tessera(*arguments(*more, **changed), environ=environ, stdin=stdin)


def test_an_administrator_is_made(app: Flask, environ: dict[str, str]) -> None:
    ended = create(environ, "--admin", username="Root-1", email="root@example.com")
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output.startswith("Created the administrator Root-1 (")
    assert PASSWORD not in ended.all
    root = Person(client_of(app), {"username": "root-1"})
    root.tokens = root.sign_in()
    listed = root.call("GET", "/v1/users")
    assert [user["roles"] for user in listed.get_json()["items"]] == [["admin"]]
    assert listed.get_json()["items"][0]["id"] in ended.output


def test_a_user_without_a_role_is_made(app: Flask, environ: dict[str, str]) -> None:
    stdin = STDIN + b"no part of the password\n"
    ended = create(environ, username="plain", email="plain@example.com", stdin=stdin)
    assert ended.output.startswith("Created the user plain (")
    person = Person(client_of(app), {"username": "plain"})
    person.tokens = person.sign_in()
    assert person.call("GET", "/v1/users").status_code == 403


def test_what_is_taken_is_told(environ: dict[str, str], mina: Person) -> None:
    ended = create(environ, email=mina.user["email"].upper())
    assert (ended.code, ended.output, ended.errors) == (1, "", "Error: The e-mail address is taken.\n")


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables of a service of its own, on SQLite: what is told does not depend on the database."""
    with databases.fresh("sqlite", tmp_path) as url:
        yield {"TESSERA_DATA_DIR": str(tmp_path), "TESSERA_DATABASE_URL": url}


def is_told(ended: Ended, *names: str) -> bool:
    """Tell whether the command failed in plain words, with a line for each of what is unfit."""
    assert ended.code == 1, ended
    assert "Traceback" not in ended.all
    lines = [line.strip() for line in ended.errors.splitlines()]
    return all([line for line in lines if line.startswith(f"{name}: ")] for name in names)


def test_all_that_is_unfit_is_told_at_once(alone: dict[str, str]) -> None:
    unfit = arguments(username="a\x1b[31mb", email="nowhere")
    assert is_told(tessera_here(*unfit, environ=alone, stdin=STDIN), "username", "email")


@pytest.mark.parametrize(
    "stdin",
    [b"", b"\n", b"short\n", b"1234567\n", b"x" * 1025 + b"\n", b"pass\x00word\n"],
    ids=lambda value: ascii(value)[:12],
)
def test_a_password_that_nobody_may_choose_is_told(alone: dict[str, str], stdin: bytes) -> None:
    ended = tessera_here(*arguments(), environ=alone, stdin=stdin)
    assert is_told(ended, "password")
    password = stdin.strip().decode()
    assert not password or password not in ended.all


def test_a_password_that_is_no_text_is_told(alone: dict[str, str]) -> None:
    assert is_told(create(alone, stdin=b"pass\xffword\n"), "password")


def test_what_is_missing_is_a_mistake_of_use(alone: dict[str, str]) -> None:
    ended = tessera_here("user", "create", "--username", "mina", environ=alone)
    assert ended.code == 2
    assert "--email" in ended.errors


def test_a_database_without_tables_is_told(tmp_path: Path, database_kind: str) -> None:
    with databases.fresh(database_kind, tmp_path, migrated=False) as url:
        ended = create({"TESSERA_DATA_DIR": str(tmp_path), "TESSERA_DATABASE_URL": url})
    assert is_told(ended)
    assert "migrate" in ended.errors
