"""The `tessera` command: what an operator sees of it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api import __version__
from tests.support import databases
from tests.support.commands import Ended, tessera, tessera_here
from tests.support.contract import checked_in
from tests.support.servers import ROOT

PASSWORD = "hunter2-of-the-database"
UNREACHABLE = f"postgresql://tessera:{PASSWORD}@127.0.0.1:1/tessera"
SECRET = "9f2c4e7a1b8d3f605a7c9e1d2b4f6a8c0e3d5b7f"
COMMANDS = (
    (), ("serve",), ("migrate",), ("features",), ("config",), ("openapi",), ("doctor",), ("user",),
    ("user", "create"), ("user", "show"), ("user", "suspend"), ("user", "unsuspend"), ("user", "restore"),
    ("user", "roles"), ("worker",), ("outbox",), ("outbox", "list"), ("outbox", "retry"),
)  # fmt: skip


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The variables of a service that nobody has set up yet, with a data folder of its own."""
    return {"TESSERA_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def empty_database(database_kind: str, tmp_path: Path) -> Iterator[str]:
    with databases.fresh(database_kind, tmp_path, migrated=False) as url:
        yield url


def is_plain_failure(ended: Ended) -> bool:
    """Tell whether a command said what is wrong as a program should."""
    return ended.code == 1 and bool(ended.all.strip()) and "Traceback" not in ended.all


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(environ: dict[str, str], words: tuple[str, ...]) -> None:
    ended = tessera_here(*words, "--help", environ=environ)
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output.startswith(f"Usage: {' '.join(['tessera', *words])} ")
    assert not Path(environ["TESSERA_DATA_DIR"]).exists()  # help makes nothing


def test_a_start_on_sqlite_imports_nothing_that_it_does_not_use(environ: dict[str, str]) -> None:
    """These take a third of its time, and 40 MiB."""
    start = (
        "import sys, api.server; api.server.application()\n"
        "print(sorted({'psycopg', 'alembic', 'rich', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", start], env=environ, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_help_is_there_while_the_settings_are_unfit() -> None:
    ended = tessera("--help", environ={"TESSERA_FEATURES": "nonsense", "TESSERA_PORT": "x"})
    assert ended.code == 0
    assert "serve" in ended.output


def test_the_version_is_told() -> None:
    assert tessera_here("--version", environ={}).output == f"tessera, version {__version__}\n"


def test_an_unknown_command_is_a_mistake_of_use(environ: dict[str, str]) -> None:
    ended = tessera_here("sreve", environ=environ)
    assert ended.code == 2
    assert "No such command 'sreve'" in ended.errors


def test_the_features_that_are_on_and_off_are_listed(environ: dict[str, str]) -> None:
    ended = tessera_here("features", environ=environ | {"TESSERA_FEATURES": "-health"})
    assert ended.code == 0
    states = dict(line.split()[1::-1] for line in ended.output.splitlines())
    assert (states["health"], states["users"], states["sessions"]) == ("off", "on", "on")


def test_config_shows_values_and_hides_secrets(environ: dict[str, str]) -> None:
    more = {
        "TESSERA_SECRET_KEY": SECRET,
        "TESSERA_DATABASE_URL": UNREACHABLE,
        "TESSERA_SIGN_UP": "closed",
        "PORT": "8123",
        "TESSERA_PROT": "8124",
    }
    ended = tessera_here("config", environ=environ | more)
    assert ended.code == 0
    assert SECRET not in ended.all
    assert PASSWORD not in ended.all
    lines = ended.output.splitlines()
    assert "TESSERA_SECRET_KEY = (hidden)    [TESSERA_SECRET_KEY]" in lines
    assert "TESSERA_DATABASE_URL = (hidden)    [TESSERA_DATABASE_URL]" in lines
    assert "TESSERA_SIGN_UP = closed    [TESSERA_SIGN_UP]" in lines
    assert "TESSERA_PORT = 8123    [PORT]" in lines
    assert ended.errors == "TESSERA_PROT is set, but no such setting is known.\n"


def test_config_shows_every_default_in_words(environ: dict[str, str]) -> None:
    ended = tessera_here("config", environ=environ)
    for line in ended.output.splitlines()[::2]:
        name, _, value = line.partition(" = ")
        assert value.removesuffix("[default]").strip(), f"{name} has no visible default"
    assert not (Path(environ["TESSERA_DATA_DIR"]) / "secret_key").exists()


def test_config_hides_a_secret_that_is_read_from_a_file(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    ended = tessera_here("config", environ=environ | {"TESSERA_SECRET_KEY_FILE": str(tmp_path / "secret")})
    assert "TESSERA_SECRET_KEY = (hidden)    [TESSERA_SECRET_KEY_FILE]" in ended.output
    assert SECRET not in ended.all


@pytest.fixture
def in_production(environ: dict[str, str]) -> dict[str, str]:
    """The variables of a service in production, with the public URL of the document that is checked in."""
    return environ | {
        "TESSERA_ENV": "production",
        "TESSERA_SECRET_KEY": SECRET,
        "TESSERA_PUBLIC_URL": "http://127.0.0.1:8000",
        "TESSERA_MAIL_URL": "smtp://mail.example.com",
    }


def test_the_document_is_the_one_that_is_checked_in(in_production: dict[str, str]) -> None:
    ended = tessera_here("openapi", environ=in_production)
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output == (ROOT / "openapi.yaml").read_text(encoding="utf-8")


def test_the_document_is_the_same_in_json(in_production: dict[str, str]) -> None:
    ended = tessera_here("openapi", "--json", environ=in_production)
    assert json.loads(ended.output) == checked_in()


def test_migrate_brings_an_empty_database_up_to_date(environ: dict[str, str], empty_database: str) -> None:
    environ |= {"TESSERA_DATABASE_URL": empty_database}
    before = tessera_here("migrate", "--check", environ=environ)
    assert is_plain_failure(before)
    assert "tessera migrate" in before.errors
    assert tessera("migrate", environ=environ).code == 0  # as a process, as its user runs it
    after = tessera_here("migrate", "--check", environ=environ)
    assert (after.code, after.output) == (0, "The database is up to date.\n")


def test_the_doctor_finds_no_fault_in_what_is_well(environ: dict[str, str]) -> None:
    assert tessera_here("migrate", environ=environ).code == 0
    ended = tessera_here("doctor", environ=environ)
    assert ended.code == 0
    assert {line.split()[0] for line in ended.output.splitlines()} == {"ok"}


def test_the_doctor_sees_that_the_tables_are_missing(environ: dict[str, str], empty_database: str) -> None:
    ended = tessera_here("doctor", environ=environ | {"TESSERA_DATABASE_URL": empty_database})
    assert is_plain_failure(ended)
    assert [
        line for line in ended.output.splitlines() if line.startswith("FAULT") and "tessera migrate" in line
    ]


def test_the_doctor_looks_at_a_name_that_nobody_knows(environ: dict[str, str]) -> None:
    ended = tessera_here("doctor", environ=environ | {"TESSERA_PROT": "1"})
    assert "look   TESSERA_PROT is set, but no such setting is known" in ended.output.splitlines()


@pytest.mark.parametrize("command", ["doctor", "migrate"])
def test_a_database_that_is_out_of_reach_is_named_without_its_password(
    environ: dict[str, str], command: str
) -> None:
    ended = tessera_here(command, environ=environ | {"TESSERA_DATABASE_URL": UNREACHABLE})
    assert is_plain_failure(ended)
    assert "does not answer" in ended.all
    assert PASSWORD not in ended.all


@pytest.mark.parametrize("command", ["doctor", "serve"])
def test_every_unfit_setting_is_named_in_a_line_of_its_own(environ: dict[str, str], command: str) -> None:
    unfit = {
        "TESSERA_PORT": "http",
        "TESSERA_ENV": "staging",
        "TESSERA_SECRET_KEY": "short-and-well-known",
        "TESSERA_PUBLIC_URL": "ftp://id.example.com",
        "TESSERA_DATABASE_URL": f"mysql://tessera:{PASSWORD}@db/tessera",
        "TESSERA_HASH_MEMORY_KIB": "1024",
    }
    ended = tessera_here(command, environ=environ | unfit)
    assert is_plain_failure(ended)
    for name, value in unfit.items():
        [line] = [line for line in ended.all.splitlines() if f"{name}:" in line]
        assert value not in line
    assert PASSWORD not in ended.all


def test_production_says_all_that_it_needs(environ: dict[str, str]) -> None:
    ended = tessera_here("migrate", environ=environ | {"TESSERA_ENV": "production"})
    assert is_plain_failure(ended)
    assert "TESSERA_SECRET_KEY: is required in production" in ended.errors
    assert "TESSERA_PUBLIC_URL: is required in production" in ended.errors
    assert "TESSERA_MAIL_URL: is required in production" in ended.errors


def test_an_unknown_feature_is_named(environ: dict[str, str]) -> None:
    ended = tessera_here("migrate", environ=environ | {"TESSERA_FEATURES": "users,sesions"})
    assert is_plain_failure(ended)
    assert "TESSERA_FEATURES: there is no 'sesions'" in ended.errors


def test_a_feature_without_what_it_requires_is_named(environ: dict[str, str]) -> None:
    ended = tessera_here("migrate", environ=environ | {"TESSERA_FEATURES": "sessions"})
    assert is_plain_failure(ended)
    assert "'sessions' requires 'users', which is off" in ended.errors


@pytest.mark.parametrize("port", ["http", "99999999"])
def test_a_database_url_with_an_unfit_port_is_named_without_its_password(
    environ: dict[str, str], port: str
) -> None:
    url = f"postgresql://tessera:{PASSWORD}@127.0.0.1:{port}/tessera"
    ended = tessera_here("doctor", environ=environ | {"TESSERA_DATABASE_URL": url})
    assert is_plain_failure(ended)
    assert PASSWORD not in ended.all


@pytest.mark.parametrize("command", ["doctor", "migrate"])
def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    ended = tessera_here(command, environ={"TESSERA_DATA_DIR": str(tmp_path / "file" / "data")})
    assert is_plain_failure(ended)
    assert "TESSERA_DATA_DIR" in ended.all


def test_a_setting_from_a_file_that_is_missing_is_named(environ: dict[str, str]) -> None:
    ended = tessera_here("migrate", environ=environ | {"TESSERA_SECRET_KEY_FILE": "/nowhere/secret"})
    assert is_plain_failure(ended)
    assert "TESSERA_SECRET_KEY_FILE" in ended.errors
