"""Fixtures: a service on each database, the people who use it, servers; and the contract's ledger."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, TypeVar

import pytest
from flask import Flask

from api.app import create_app
from api.kit.db import db, dispose
from api.kit.hashing import Hasher
from api.sessions.keys import keyring
from tests.support import databases, durations, requirements
from tests.support.clients import ContractClient, Person, client_of, new_person
from tests.support.contract import SEEN, Contract, checked_in
from tests.support.mail import Mailbox
from tests.support.scheduling import FromBothEnds, busy_first
from tests.support.servers import Server, serving

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


@pytest.fixture(scope="session", params=databases.EACH)
def database_kind(request: pytest.FixtureRequest) -> str:
    """The kind of database: a test that uses one runs on SQLite and on PostgreSQL, unless a mark chooses."""
    found: str = request.param
    return found


@pytest.fixture(scope="session")
def database(database_kind: str, lasting: Lasting, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a migrated database whose signing keys never change."""
    return lasting.once("url", database_kind, lambda: _shared_database(database_kind, tmp_path_factory))


@contextmanager
def _shared_database(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with databases.fresh(kind, tmp_path_factory.mktemp("database")) as url:
        with _app(production(url, tmp_path_factory)) as app, app.app_context():
            keyring().published()  # makes the first key
            databases.freeze(db.engine, "signing_keys")
        yield url


@pytest.fixture(scope="session")
def environ(database: str, lasting: Lasting, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a production service on the database."""
    return lasting.once("environ", database, lambda: nullcontext(production(database, tmp_path_factory)))


def production(database: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
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

    What a test puts into its extensions is taken out afterwards.
    """
    extensions = dict(shared_app.extensions)
    yield shared_app
    shared_app.extensions.clear()
    shared_app.extensions.update(extensions)
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
def isolated_environ(
    database_kind: str, lasting: Lasting, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The variables of a production service on a database that only `make_isolated` uses."""
    return lasting.once("isolated environ", database_kind, lambda: _isolated(database_kind, tmp_path_factory))


@contextmanager
def _isolated(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with databases.fresh(kind, tmp_path_factory.mktemp("isolated")) as url:
        yield production(url, tmp_path_factory)


@pytest.fixture
def make_isolated(
    isolated_environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeApp]:
    """Makes services on a database without a row, to rotate, retire and outlive its signing keys.

    Each is as in a process of its own, and hashes cheaply.
    """
    with ExitStack() as stack:

        def make(**settings: str) -> Flask:
            changed = {f"TESSERA_{name}": value for name, value in settings.items()}
            app = hashing_cheaply(stack.enter_context(_app(isolated_environ | changed)), tmp_path_factory)
            stack.callback(_empty, app)
            return app

        yield make


def _empty(app: Flask) -> None:
    with app.app_context():
        databases.wipe(db.engine, keys=True)


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


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that is marked `database("sqlite")` on that kind of database alone."""
    mark = metafunc.definition.get_closest_marker("database")
    if mark and "database_kind" in metafunc.fixturenames:
        chosen = [databases.parameter_of(kind) for kind in mark.args]
        metafunc.definition.add_marker(pytest.mark.parametrize("database_kind", chosen, indirect=True))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[_LEFT_OUT] = requirements.leave_out(config, items)
    if hasattr(config, "workerinput"):
        items[:] = busy_first(items)


def _declared() -> set[tuple[str, int]]:
    return Contract(checked_in()).declared


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
    """Take over what a worker process has seen, and what it left out: each leaves out the same."""
    SEEN.update((operation, status) for operation, status in node.workeroutput.get("seen", ()))
    node.config.stash[_LEFT_OUT] = Counter(node.workeroutput.get("left_out", {}))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Pass what a worker has seen to the run; fail the run for what it must not be without."""
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["seen"] = sorted(SEEN)
        config.workeroutput["left_out"] = dict(config.stash.get(_LEFT_OUT, {}))
    elif exitstatus == 0:
        config.stash[_FAULTS] = _faults(config)
        if config.stash[_FAULTS]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _faults(config: pytest.Config) -> list[str]:
    """Return what is wrong with a run in which every test passed."""
    unseen = _declared() - SEEN if _is_whole_run(config) else ()
    faults = [f"openapi.yaml declares {name} -> {status}; no test saw it" for name, status in sorted(unseen)]
    if not os.environ.get("CI"):
        return faults
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    skipped = [
        f"CI skips nothing, but it skipped {report.nodeid}" for report in reporter.stats.get("skipped", ())
    ]
    return faults + skipped + durations.faults(config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for fault in config.stash.get(_FAULTS, []):
        terminalreporter.write_line(fault, red=True)
    if left_out := config.stash.get(_LEFT_OUT, None):
        terminalreporter.write_line(requirements.summary(left_out), yellow=True)


_FAULTS = pytest.StashKey[list[str]]()
_LEFT_OUT = pytest.StashKey[Counter[str]]()
