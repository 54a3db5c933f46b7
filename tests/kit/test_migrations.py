"""The migrations make the tables that the models expect, on both databases, once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.command import downgrade
from alembic.command import upgrade as upgrade_to
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


CREATED = datetime(2026, 11, 22, 9, 31, 0, 123456, UTC)


def _session_of_before(engine: sa.Engine) -> sa.Connection:
    """Return a connection to a database at 0001 that holds a session."""
    connection = engine.connect()
    upgrade_to(configuration(OWN, connection), "0001")
    tables = sa.MetaData()
    tables.reflect(connection, only=["users", "sessions"])
    user_id, session_id = (uuid4() if engine.dialect.name == "postgresql" else uuid4().hex for _ in range(2))
    user: dict[str, Any] = {
        "id": user_id, "email_verified": False, "password_hash": "x", "password_changed_at": CREATED,
        "status": "active", "roles": [], "metadata": {}, "app_metadata": {}, "created_at": CREATED,
        "updated_at": CREATED, "version": 1,
    }  # fmt: skip
    session: dict[str, Any] = {
        "id": session_id, "user_id": user_id, "generation": 7, "confirmed": True,
        "device_name": "phone", "amr": ["pwd"], "created_at": CREATED,
        "last_used_at": datetime(2026, 11, 23, tzinfo=UTC), "expires_at": datetime(2027, 2, 20, tzinfo=UTC),
    }  # fmt: skip
    connection.execute(sa.insert(tables.tables["users"]).values(user))
    connection.execute(sa.insert(tables.tables["sessions"]).values(session))
    connection.commit()
    return connection


def _kept(connection: sa.Connection) -> dict[str, Any]:
    """Return the session that the database holds."""
    found = dict(connection.execute(sa.text("SELECT * FROM sessions")).mappings().one())
    connection.rollback()
    return found


def test_the_second_one_keeps_a_session_as_signed_in_when_it_was_made(engine: sa.Engine) -> None:
    with _session_of_before(engine) as connection:
        before = _kept(connection)
        upgrade_to(configuration(OWN, connection), "0002")
        assert _kept(connection) == before | {"authenticated_at": before["created_at"]}


def test_the_second_one_is_taken_back_without_the_loss_of_a_session(engine: sa.Engine) -> None:
    with _session_of_before(engine) as connection:
        before = _kept(connection)
        upgrade_to(configuration(OWN, connection), "0002")
        downgrade(configuration(OWN, connection), "0001")
        assert _kept(connection) == before
        assert "signing_keys" not in sa.inspect(connection).get_table_names()
