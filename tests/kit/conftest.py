"""Fixtures of tests that need no database."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from flask import Flask

from api.app import create_app
from api.kit.db import dispose
from tests.conftest import SECRET
from tests.support.clients import ContractClient, client_of

NOBODY = "postgresql://postgres@127.0.0.1:1/none"

MakeOffline = Callable[..., Flask]


@contextmanager
def _offline_app(folder: Path, **settings: str) -> Iterator[Flask]:
    app = create_app(
        {
            "TESSERA_ENV": "production",
            "TESSERA_SECRET_KEY": SECRET,
            "TESSERA_PUBLIC_URL": "https://id.example.com",
            "TESSERA_MAIL_URL": f"file:{folder / 'mail'}",
            "TESSERA_DATABASE_URL": NOBODY,
            "TESSERA_DATA_DIR": str(folder),
            "TESSERA_LIMITS": "off",
            **{f"TESSERA_{name}": value for name, value in settings.items()},
        }
    )
    yield app
    with app.app_context():
        dispose()


@pytest.fixture(scope="session")
def offline_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """A production service whose database nobody answers: what needs one gets 503."""
    with _offline_app(tmp_path_factory.mktemp("offline")) as app:
        yield app


@pytest.fixture
def offline(offline_app: Flask) -> ContractClient:
    """Somebody who is not signed in, at a service without a database."""
    return client_of(offline_app)


@pytest.fixture
def make_offline(tmp_path: Path) -> Iterator[MakeOffline]:
    """Makes services without a database that a test may change: `make_offline(LIMITS="on")`."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(_offline_app(tmp_path, **settings))
