"""The migrations make the tables that the models expect, on both databases, once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.command import downgrade
from alembic.command import upgrade as upgrade_to
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from api.app import all_features
from api.kit.db import Base, engine_options, prepare
from api.kit.feature import Migrations
from api.kit.migrations import OWN, MigrationError, _expected, behind_at, configuration, upgrade
from tests.support import databases
from tests.support.servers import run


@pytest.fixture
def empty(database_kind: str, tmp_path: Path) -> Iterator[sa.URL]:
    """The URL of a database without a table."""
    with databases.fresh(database_kind, tmp_path, migrated=False) as url:
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
        context = MigrationContext.configure(connection, opts={"include_name": _is_modelled})
        assert compare_metadata(context, Base.metadata) == []


def _is_modelled(name: str | None, _kind: str, _parents: object) -> bool:
    """Leave out what users are searched by: migration 0010 alone knows it."""
    return not str(name).startswith(("users_search", "ix_users_search"))


def test_the_service_knows_that_it_is_behind(empty: sa.URL) -> None:
    assert behind_at(empty, [OWN]) == ["alembic_version"]
    upgrade(empty, [OWN])
    assert behind_at(empty, [OWN]) == []


def test_the_service_and_alembic_agree_on_what_is_last() -> None:
    scripts = ScriptDirectory(str(OWN.folder.parent), version_locations=[str(OWN.folder)])
    assert _expected(OWN) == set(scripts.get_heads())


@pytest.mark.parametrize("followed", ['"a"', '("a", "b")'])
def test_several_histories_may_be_joined(tmp_path: Path, followed: str) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(f'revision: str = "{name}"\ndown_revision = None\n')
    (tmp_path / "c.py").write_text(f'"""Says."""\nrevision = "c"\ndown_revision = {followed}\n')
    heads = _expected(Migrations(tmp_path, "probe_version"))
    assert heads == ({"b", "c"} if followed == '"a"' else {"c"})


def test_each_can_be_taken_back(empty: sa.URL, engine: sa.Engine) -> None:
    upgrade(empty, [OWN])
    with engine.connect() as connection:
        downgrade(configuration(OWN, connection), "base")
    assert set(sa.inspect(engine).get_table_names()) <= {"alembic_version"}


@pytest.mark.long
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
    user = _user(engine)
    session: dict[str, Any] = {
        "id": _new_id(engine), "user_id": user["id"], "generation": 7, "confirmed": True,
        "device_name": "phone", "amr": ["pwd"], "created_at": CREATED,
        "last_used_at": datetime(2026, 11, 23, tzinfo=UTC), "expires_at": datetime(2027, 2, 20, tzinfo=UTC),
    }  # fmt: skip
    connection.execute(sa.insert(tables.tables["users"]).values(user))
    connection.execute(sa.insert(tables.tables["sessions"]).values(session))
    connection.commit()
    return connection


def _user(engine: sa.Engine, **more: Any) -> dict[str, Any]:
    return {
        "id": _new_id(engine), "email_verified": False, "password_hash": "x", "password_changed_at": CREATED,
        "status": "active", "roles": [], "metadata": {}, "app_metadata": {}, "created_at": CREATED,
        "updated_at": CREATED, "version": 1, **more,
    }  # fmt: skip


def _new_id(engine: sa.Engine) -> UUID | str:
    return uuid4() if engine.dialect.name == "postgresql" else uuid4().hex


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


@contextmanager
def _users_of_before(engine: sa.Engine, usernames: list[str | None]) -> Iterator[sa.Connection]:
    """Yield a connection to a database at 0004 that holds users with these names, the oldest first."""
    with engine.connect() as connection:
        upgrade_to(configuration(OWN, connection), "0004")
        users = sa.Table("users", sa.MetaData(), autoload_with=connection)
        rows = [
            _user(
                engine,
                username=name,
                username_key=name and name.lower(),
                created_at=CREATED + timedelta(seconds=age),
            )
            for age, name in enumerate(usernames)
        ]
        connection.execute(sa.insert(users), rows)
        connection.commit()
        yield connection


def _skeletons(connection: sa.Connection) -> dict[str, str | None]:
    found = connection.execute(sa.text("SELECT username, username_skeleton FROM users"))
    return {name: skeleton for name, skeleton in found if name is not None}


def test_the_fifth_one_gives_the_oldest_of_look_alikes_the_skeleton(engine: sa.Engine) -> None:
    paypal, upper = "\u0440\u0430ypal", "\u0420AYPAL"  # with Cyrillic letters
    names = ["Mina", paypal, "PayPal", upper, "\u0416ora", None, "\u1f87" * 80, None]
    with _users_of_before(engine, names) as connection:
        upgrade_to(configuration(OWN, connection), "0005")
        assert _skeletons(connection) == {
            "Mina": "mina",
            paypal: "paypal",
            "PayPal": None,
            upper: None,
            "\u0416ora": "\u0436ora",
            "\u1f87" * 80: None,  # it would be too long
        }


def test_the_fifth_one_reaches_every_user(engine: sa.Engine) -> None:
    names: list[str | None] = [f"\u041cina{number}" for number in range(2500)]
    with _users_of_before(engine, names) as connection:
        upgrade_to(configuration(OWN, connection), "0005")
        assert set(_skeletons(connection).values()) == {f"mina{number}" for number in range(2500)}


def test_the_seventh_one_notes_who_has_which_role(engine: sa.Engine) -> None:
    prepare(engine)
    with _session_of_before(engine) as connection:
        upgrade_to(configuration(OWN, connection), "0006")
        users = sa.Table("users", sa.MetaData(), autoload_with=connection)
        holders = [_user(engine, roles=roles) for roles in (["admin"], ["admin", "b"], ["b", "b"], [])]
        connection.execute(sa.insert(users), holders)
        connection.commit()
        upgrade_to(configuration(OWN, connection), "0007")
        found = connection.execute(sa.text("SELECT role, user_id FROM role_members")).all()
    ids = [holder["id"] for holder in holders]
    assert set(found) == {("admin", ids[0]), ("admin", ids[1]), ("b", ids[1]), ("b", ids[2])}
    assert len(found) == 4


def test_the_seventh_one_ends_no_session_there_and_back(engine: sa.Engine) -> None:
    prepare(engine)
    with _session_of_before(engine) as connection:
        upgrade_to(configuration(OWN, connection), "0006")
        before = _kept(connection)
        upgrade_to(configuration(OWN, connection), "0007")
        downgrade(configuration(OWN, connection), "0006")
        assert _kept(connection) == before


def test_the_fifth_one_ends_no_session_there_and_back(engine: sa.Engine) -> None:
    """To make the table of users anew, as SQLite's other changes do, would delete what refers to it."""
    prepare(engine)
    with _session_of_before(engine) as connection:
        upgrade_to(configuration(OWN, connection), "0004")
        before = _kept(connection)
        upgrade_to(configuration(OWN, connection), "0005")
        downgrade(configuration(OWN, connection), "0004")
        assert _kept(connection) == before


def test_the_tenth_one_lets_users_of_before_be_found(engine: sa.Engine) -> None:
    names: list[str | None] = [f"Zo\u00eb{number}" for number in range(2500)]
    with _users_of_before(engine, names) as connection:
        upgrade_to(configuration(OWN, connection), "0010")
        found = connection.scalars(sa.text("SELECT search_text FROM users"))
        assert set(found) == {f"  zoe{number}" for number in range(2500)}
        if engine.dialect.name == "sqlite":
            found_by_index = sa.text("SELECT count(*) FROM users_search WHERE users_search MATCH '\"zoe24\"'")
            assert connection.scalar(found_by_index) == 111


@databases.ON_SQLITE
def test_the_twelfth_one_numbers_users_of_before_as_it_does_new_ones(engine: sa.Engine) -> None:
    prepare(engine)
    with _users_of_before(engine, ["Zo\u00eb", "Mina", "Li"]) as connection:
        upgrade_to(configuration(OWN, connection), "0012")
        numbers = sa.text("SELECT user_id, number FROM users_search_rows ORDER BY user_id")
        before = connection.execute(numbers).all()
        connection.exec_driver_sql("UPDATE users SET search_text = search_text || ' '")
        assert {number >> 25 for _, number in connection.execute(numbers)} == {n >> 25 for _, n in before}
        found = sa.text("SELECT count(*) FROM users_search WHERE users_search MATCH '\"mina\"'")
        assert connection.scalar(found) == 1
        downgrade(configuration(OWN, connection), "0011")
        upgrade_to(configuration(OWN, connection), "0012")
        assert connection.scalar(found) == 1
        downgrade(configuration(OWN, connection), "0009")


def test_the_tenth_one_ends_no_session_there_and_back(engine: sa.Engine) -> None:
    prepare(engine)
    with _session_of_before(engine) as connection:
        upgrade_to(configuration(OWN, connection), "0009")
        before = _kept(connection)
        upgrade_to(configuration(OWN, connection), "0010")
        downgrade(configuration(OWN, connection), "0009")
        assert _kept(connection) == before


@databases.ON_POSTGRESQL
def test_the_tenth_one_says_what_to_do_where_it_may_not_create_the_extension(empty: sa.URL) -> None:
    """A database that is another's: its role may make tables and no extension."""
    role = f"tessera_test_{token_hex(4)}"
    administrator = sa.create_engine(empty, isolation_level="AUTOCOMMIT")
    with administrator.connect() as connection:
        connection.execute(sa.text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(sa.text(f"GRANT ALL ON SCHEMA public TO {role}"))
        try:
            with pytest.raises(MigrationError, match="CREATE EXTENSION pg_trgm"):
                upgrade(empty.set(username=role), [OWN])
            connection.execute(sa.text("CREATE EXTENSION pg_trgm"))
            upgrade(empty.set(username=role), [OWN])
        finally:
            connection.execute(sa.text(f"DROP OWNED BY {role}"))
            connection.execute(sa.text(f"DROP ROLE {role}"))
    administrator.dispose()
    assert behind_at(empty, [OWN]) == ["alembic_version"]  # what the role had made went with it
