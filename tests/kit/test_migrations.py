"""The migrations make the tables that the models expect, on both databases, once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.command import downgrade
from alembic.migration import MigrationContext

from api.app import all_features
from api.kit.db import Base, engine_options
from api.kit.migrations import OWN, behind_at, configuration, upgrade
from tests.support import databases
from tests.support.servers import run


@pytest.fixture(params=databases.KINDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.URL]:
    """The URL of a database without a table."""
    with databases.fresh(request.param, tmp_path, migrated=False) as url:
        yield sa.make_url(databases.driver_url(url))


@pytest.fixture
def engine(empty: sa.URL) -> Iterator[sa.Engine]:
    engine = sa.create_engine(empty, **engine_options(empty, connections=4))
    yield engine
    engine.dispose()


def test_they_make_what_the_models_say(empty: sa.URL, engine: sa.Engine) -> None:
    all_features()  # imports every model
    upgrade(empty, [OWN])
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_the_service_knows_that_it_is_behind(empty: sa.URL) -> None:
    assert behind_at(empty, [OWN]) == ["alembic_version"]
    upgrade(empty, [OWN])
    assert behind_at(empty, [OWN]) == []


def test_each_can_be_taken_back(empty: sa.URL, engine: sa.Engine) -> None:
    upgrade(empty, [OWN])
    with engine.connect() as connection:
        downgrade(configuration(OWN, connection), "base")
    assert set(sa.inspect(engine).get_table_names()) <= {"alembic_version"}


def test_four_processes_at_once_migrate_once(empty: sa.URL, tmp_path: Path) -> None:
    url = empty.set(drivername=empty.get_backend_name()).render_as_string(hide_password=False)
    variables = {"TESSERA_DATABASE_URL": url, "TESSERA_DATA_DIR": str(tmp_path)}
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: run(["migrate"], variables), range(4)))
    assert [one.returncode for one in done] == [0] * 4, [one.stderr for one in done]
    assert behind_at(empty, [OWN]) == []


def test_a_failing_one_leaves_nothing_behind(empty: sa.URL, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE sessions (id INTEGER)"))  # in the way of the second table
    with pytest.raises(sa.exc.DBAPIError):
        upgrade(empty, [OWN])
    assert "users" not in sa.inspect(engine).get_table_names()
