"""Fixtures: a service on each database, the people who use it, servers; and the contract's ledger."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, TypeVar

import pytest
import yaml
from flask import Flask

from api.app import create_app
from api.kit.db import db, dispose
from api.kit.hashing import Hasher
from api.sessions.keys import keyring
from tests.support import databases
from tests.support.clients import ContractClient, Person, client_of, new_person
from tests.support.contract import SEEN, Contract
from tests.support.mail import Mailbox
from tests.support.scheduling import FromBothEnds, busy_first
from tests.support.servers import ROOT, Server, serving

sys.addaudithook(databases.refuse_to_open)

QUICK = "not long"  # as `make test` selects
SECRET = "9f2c4e7a1b8d3f605a7c9e1d2b4f6a8c0e3d5b7f"

T = TypeVar("T")
MakeApp = Callable[..., Flask]


class Lasting:
    """What lasts as long as the session, by name.

    Of a fixture with parameters pytest keeps one value: it would end and remake all that depends on
    the database twice in each module.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._made: dict[tuple[str, str], Any] = {}

    def once(self, name: str, of: str, make: Callable[[], AbstractContextManager[T]]) -> T:
        """Return what was made under this name of this database, or make it."""
        if (name, of) not in self._made:
            self._made[name, of] = self._stack.enter_context(make())
        found: T = self._made[name, of]
        return found


@pytest.fixture(scope="session")
def lasting() -> Iterator[Lasting]:
    with ExitStack() as stack:
        yield Lasting(stack)


@pytest.fixture(scope="session", params=databases.KINDS)
def database(
    request: pytest.FixtureRequest, lasting: Lasting, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The URL of a migrated database: every test that uses it runs on SQLite and on PostgreSQL."""
    kind: str = request.param
    return lasting.once("url", kind, lambda: databases.fresh(kind, tmp_path_factory.mktemp("database")))


@pytest.fixture(scope="session")
def environ(database: str, lasting: Lasting, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a production service on the database."""
    return lasting.once("environ", database, lambda: nullcontext(_production(database, tmp_path_factory)))


def _production(database: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
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
def shared_app(
    database: str, environ: dict[str, str], lasting: Lasting, tmp_path_factory: pytest.TempPathFactory
) -> Flask:
    """Hashes cheaply: half of the suite's time would go into them. What `make_app` makes does not."""
    return hashing_cheaply(lasting.once("app", database, lambda: _app(environ)), tmp_path_factory)


def hashing_cheaply(app: Flask, tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """Return the app with a hasher for tests in which the hash is not the matter."""
    app.extensions["tessera.hasher"] = Hasher(64, 1, tmp_path_factory.mktemp("slots"))
    return app


@pytest.fixture
def app(shared_app: Flask) -> Iterator[Flask]:
    """The service with the settings of production; its tables are empty.

    Another service on the database may have gone through years meanwhile, at whose end our key was dead.
    """
    with shared_app.app_context():
        keyring().forget()
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
def shared_server(
    database: str, environ: dict[str, str], lasting: Lasting, tmp_path_factory: pytest.TempPathFactory
) -> Server:
    log = tmp_path_factory.mktemp("server") / "server.log"
    variables = environ | {"TESSERA_WORKERS": "2", "TESSERA_WORKER": "apart"}
    return lasting.once("server", database, lambda: serving(variables, log))


@pytest.fixture
def server(app: Flask, shared_server: Server) -> Server:
    """`tessera serve` with two processes on the database; its tables are empty.

    It delivers nothing, for it would deliver what other tests owe.
    """
    return shared_server


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FromBothEnds | None:
    if config.option.dist != "loadscope":
        return None
    config.option.loadscopereorder = False  # the order of the collection is that of `busy_first`
    return FromBothEnds(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items[:] = busy_first(items)


def _declared() -> set[tuple[str, int]]:
    return Contract(yaml.safe_load((ROOT / "openapi.yaml").read_text(encoding="utf-8"))).declared


def _is_whole_run(config: pytest.Config) -> bool:
    """Tell whether what runs should see every answer: the long tests repeat what others see."""
    option: Any = config.option
    narrowed = (
        option.keyword
        or option.markexpr not in ("", QUICK)
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
