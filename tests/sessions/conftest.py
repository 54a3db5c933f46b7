"""Services on a database whose signing keys no other test knows: to rotate, retire and outlive them."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import time_machine
from flask import Flask

from api.kit.db import db
from tests.conftest import SECRET, MakeApp, _app, hashing_cheaply
from tests.support import databases
from tests.support.clients import contract_of
from tests.support.contract import Contract

_contracts: dict[frozenset[tuple[str, str]], Contract] = {}  # by settings: making one takes a while


@pytest.fixture(scope="session", params=databases.KINDS)
def environ_apart(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The variables of a production service on a database of its own."""
    folder = tmp_path_factory.mktemp("apart")
    with databases.fresh(request.param, folder) as url:
        yield {
            "TESSERA_ENV": "production",
            "TESSERA_SECRET_KEY": SECRET,
            "TESSERA_PUBLIC_URL": "https://id.example.com",
            "TESSERA_DATABASE_URL": url,
            "TESSERA_DATA_DIR": str(folder),
            "TESSERA_MAIL_URL": f"file:{folder / 'mail'}",
            "TESSERA_LIMITS": "off",
        }


@pytest.fixture
def make_apart(environ_apart: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeApp]:
    """Makes services, each as in a process of its own, on a database that is empty of keys as well.

    They hash cheaply.
    """
    with ExitStack() as stack:

        def make(**settings: str) -> Flask:
            changed = {f"TESSERA_{name}": value for name, value in settings.items()}
            app = hashing_cheaply(stack.enter_context(_app(environ_apart | changed)), tmp_path_factory)
            stack.callback(_empty, app)
            named = frozenset(settings.items())
            app.extensions["contract"] = _contracts[named] = _contracts.get(named) or contract_of(app)
            return app

        yield make


def _empty(app: Flask) -> None:
    with app.app_context():
        databases.wipe(db.engine, keys=True)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """A clock that stands still and moves by hand."""
    with time_machine.travel(int(time.time()), tick=False) as traveller:
        yield traveller
