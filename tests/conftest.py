"""Fixtures: a service on each database, the people who use it, servers; and the contract's ledger."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import yaml
from flask import Flask

from api.app import create_app
from api.kit.db import db, dispose
from api.kit.hashing import Hasher
from tests.support import databases
from tests.support.clients import ContractClient, Person, client_of, new_person
from tests.support.contract import SEEN, Contract
from tests.support.mail import Mailbox
from tests.support.servers import ROOT, Server, serving

SECRET = "9f2c4e7a1b8d3f605a7c9e1d2b4f6a8c0e3d5b7f"

MakeApp = Callable[..., Flask]


@pytest.fixture(scope="session", params=databases.KINDS)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a migrated database: every test that uses it runs on SQLite and on PostgreSQL."""
    with databases.fresh(request.param, tmp_path_factory.mktemp("database")) as url:
        yield url


@pytest.fixture(scope="session")
def environ(database: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a production service on the database."""
    return {
        "TESSERA_ENV": "production",
        "TESSERA_SECRET_KEY": SECRET,
        "TESSERA_PUBLIC_URL": "https://id.example.com",
        "TESSERA_MAIL_URL": f"file:{tmp_path_factory.mktemp('mail')}",
        "TESSERA_DATABASE_URL": database,
        "TESSERA_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "TESSERA_LIMITS": "off",
    }


@contextmanager
def _app(environ: dict[str, str]) -> Iterator[Flask]:
    app = create_app(environ)
    try:
        yield app
    finally:
        with app.app_context():
            dispose()


@pytest.fixture(scope="session")
def shared_app(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """Hashes cheaply: half of the suite's time would go into them. What `make_app` makes does not."""
    with _app(environ) as app:
        app.extensions["tessera.hasher"] = Hasher(64, 1, tmp_path_factory.mktemp("slots"))
        yield app


@pytest.fixture
def app(shared_app: Flask) -> Iterator[Flask]:
    """The service with the settings of production; its tables are empty."""
    yield shared_app
    with shared_app.app_context():
        databases.wipe(db.engine)


@pytest.fixture
def client(app: Flask) -> ContractClient:
    """Somebody who is not signed in."""
    return client_of(app)


@pytest.fixture
def mina(app: Flask) -> Person:
    """Somebody who is signed in."""
    return new_person(app)


@pytest.fixture
def ken(app: Flask) -> Person:
    """Somebody else who is signed in."""
    return new_person(app)


@pytest.fixture
def admin(app: Flask) -> Person:
    """An administrator who is signed in."""
    return new_person(app, admin=True)


@pytest.fixture
def mailbox(app: Flask) -> Mailbox:
    """What was sent by mail; delivers when asked to."""
    return Mailbox(app)


@pytest.fixture
def make_app(app: Flask, environ: dict[str, str]) -> Iterator[MakeApp]:
    """Makes services with other settings on the same database: `make_app(SIGN_UP="closed")`."""
    with ExitStack() as stack:

        def make(**settings: str) -> Flask:
            changed = {f"TESSERA_{name}": value for name, value in settings.items()}
            return stack.enter_context(_app(environ | changed))

        yield make


@pytest.fixture(scope="session")
def shared_server(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "server.log"
    with serving(environ | {"TESSERA_WORKERS": "2", "TESSERA_WORKER": "apart"}, log) as running:
        yield running


@pytest.fixture
def server(app: Flask, shared_server: Server) -> Server:
    """`tessera serve` with two processes on the database; its tables are empty.

    It delivers nothing, for it would deliver what other tests owe.
    """
    return shared_server


def _declared() -> set[tuple[str, int]]:
    return Contract(yaml.safe_load((ROOT / "openapi.yaml").read_text(encoding="utf-8"))).declared


def _is_whole_run(config: pytest.Config) -> bool:
    option: Any = config.option
    narrowed = (
        option.keyword
        or option.markexpr
        or getattr(option, "lf", False)
        or option.maxfail
        or option.collectonly
    )
    return config.args_source == pytest.Config.ArgsSource.TESTPATHS and not narrowed


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker process has seen."""
    SEEN.update((operation, status) for operation, status in node.workeroutput.get("seen", ()))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a whole run in which a declared answer was never seen."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["seen"] = sorted(SEEN)
    elif exitstatus == 0 and _is_whole_run(session.config):
        session.config.stash[_UNSEEN] = sorted(_declared() - SEEN)
        if session.config.stash[_UNSEEN]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for operation, status in config.stash.get(_UNSEEN, []):
        terminalreporter.write_line(
            f"openapi.yaml declares {operation} -> {status}; no test saw it", red=True
        )


_UNSEEN = pytest.StashKey[list[tuple[str, int]]]()
