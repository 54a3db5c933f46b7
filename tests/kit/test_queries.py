"""Selects on the driver give what SQLAlchemy would, and leave to it whatever is not plain."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from flask import Flask

from api.kit.db import READING, db, dispose
from api.kit.queries import Query
from api.users.models import User
from tests.support import databases
from tests.support.clients import Person, client_of
from tests.support.watching import connections_in_use, in_parallel, set_user, statements

USER = sa.select(User).where(User.id == sa.bindparam("user_id"))
WHOLE = Query(sa.select(*User.__table__.columns).where(User.id == sa.bindparam("user_id")))
PAST = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)


def same(row: Any, user: User) -> bool:
    """Tell whether a row has what an entity has, of the same types."""
    names = {a.columns[0].name: a.key for a in sa.inspect(User).column_attrs}
    pairs = [(getattr(row, column), getattr(user, key)) for column, key in names.items()]
    return all(type(one) is type(other) and one == other for one, other in pairs)


@contextmanager
def taken_connections(engine: sa.Engine) -> Iterator[list[object]]:
    """Collect the connections that are taken from a pool meanwhile."""
    taken: list[object] = []

    def note(connection: object, *_: object) -> None:
        taken.append(connection)

    sa.event.listen(engine.pool, "checkout", note)
    try:
        yield taken
    finally:
        sa.event.remove(engine.pool, "checkout", note)


@pytest.mark.parametrize(
    "values",
    [
        {"roles": ["admin", "öffentlich"], "user_metadata": {"a": [1, None, {"b": "김"}]}},
        {"suspended_until": PAST, "last_seen_at": PAST.replace(microsecond=1), "email_verified": True},
        {"display_name": None, "locale": None, "last_seen_at": None, "app_metadata": {}},
    ],
)
def test_a_row_is_what_an_entity_is(app: Flask, mina: Person, values: dict[str, Any]) -> None:
    set_user(app, mina.id, **values)
    with app.app_context():
        parameters = {"user_id": UUID(mina.id)}
        assert same(WHOLE.one_or_none(parameters), db.session.scalars(USER, parameters).one())


def test_nothing_is_none(app: Flask) -> None:
    with app.app_context():
        assert WHOLE.one_or_none({"user_id": UUID(int=0)}) is None


def test_whoever_listens_to_statements_hears_it(app: Flask, mina: Person) -> None:
    with statements(app) as seen:
        assert mina.call("GET", "/v1/users/me").status_code == 200
    assert len(seen) == 1


def test_its_connections_are_given_back(app: Flask, mina: Person) -> None:
    for _ in range(100):
        mina.call("GET", "/v1/users/me")
    assert connections_in_use(app) == 0


@databases.ON_POSTGRESQL
@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PATCH", {"display_name": "Mina"})])
def test_connections_that_died_are_no_refusal(app: Flask, mina: Person, method: str, body: Any) -> None:
    in_parallel(4, lambda _: client_of(app).get("/v1/users/me", headers=mina.bearer))
    with app.app_context(), db.engine.connect() as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        connection.execute(sa.text(f"{others} AND datname = current_database()"))
    answers = in_parallel(
        4, lambda _: client_of(app).open("/v1/users/me", method=method, json=body, headers=mina.bearer)
    )
    assert [answer.status_code for answer in answers] == [200] * 4


@contextmanager
def dying_connections(app: Flask) -> Iterator[None]:
    """Let the server end every connection as soon as it is made, and those that there are."""

    def end(connection: Any, _record: object) -> None:
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))

    with app.app_context():
        engines = list(db.engines.values())
        url = db.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    for engine in engines:
        engine.dispose()
        sa.event.listen(engine.pool, "connect", end)
    try:
        yield
    finally:
        for engine in engines:
            sa.event.remove(engine.pool, "connect", end)


@databases.ON_POSTGRESQL
def test_a_server_that_ends_whoever_comes_is_away(app: Flask, mina: Person) -> None:
    courier = app.extensions["tessera.courier"]
    working = threading.Thread(target=courier.run)
    with dying_connections(app):
        working.start()
        for body in (None, {"display_name": "Mina"}):
            answer = mina.call("GET" if body is None else "PATCH", "/v1/users/me", body)
            assert (answer.status_code, answer.get_json()["code"]) == (503, "database_unavailable")
    assert mina.call("GET", "/v1/users/me").status_code == 200
    assert working.is_alive(), "it delivers again"
    courier.stop()
    working.join()


@databases.ON_POSTGRESQL  # SQLite prepares a statement anew by itself
def test_a_column_of_another_type_is_no_fault_of_the_service(app: Flask, mina: Person) -> None:
    for _ in range(8):  # psycopg prepares what comes for the sixth time
        assert mina.call("GET", "/v1/users/me").status_code == 200
        assert mina.call("PATCH", "/v1/users/me", {"display_name": "Mina"}).status_code == 200
    with altered(app, "display_name", "varchar(400)"):
        answers = [mina.call("GET", "/v1/users/me").status_code for _ in range(6)]
        answers += [mina.call("PATCH", "/v1/users/me", {"locale": "ko"}).status_code for _ in range(6)]
    assert set(answers) <= {200, 503}
    assert answers.count(503) <= 2
    assert (answers[5], answers[-1]) == (200, 200)


@contextmanager
def altered(app: Flask, column: str, kind: str) -> Iterator[None]:
    """Give a column of users another type meanwhile."""
    with app.app_context():
        engine = db.engine
        before = User.__table__.c[column].type.compile(engine.dialect)
    statement = f"ALTER TABLE users ALTER COLUMN {column} TYPE"
    with engine.begin() as connection:
        connection.execute(sa.text(f"{statement} {kind}"))
    try:
        yield
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text(f"{statement} {before}"))
        with app.app_context():
            dispose()


def test_a_statement_that_fails_is_asked_once(app: Flask) -> None:
    """A database that hangs costs one wait, not two."""
    nowhere = Query(sa.select(sa.column("a")).select_from(sa.table("nowhere")))
    with app.app_context():
        with taken_connections(db.engines[READING]) as taken, pytest.raises(sa.exc.DBAPIError) as caught:
            nowhere.one_or_none({})
        assert "nowhere" in str(caught.value.orig)
        assert len(taken) == 1
        with db.engines[READING].connect() as connection:
            assert connection.scalar(sa.select(1)) == 1
