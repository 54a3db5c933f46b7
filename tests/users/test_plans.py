"""What is looked for among all users, from time to time or by every removal, is found by an index."""

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from api.kit import work
from api.kit.db import db
from api.users import erasure, standing
from tests.support.clients import Person
from tests.support.watching import Statement, statements


def _plan(app: Flask, statement: Statement) -> str:
    """Return how the database would find the rows if it had many."""
    with app.app_context(), db.engine.connect() as connection:
        explain = "EXPLAIN QUERY PLAN "
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
            explain = "EXPLAIN "
        rows = connection.exec_driver_sql(explain + statement.text, statement.parameters).all()
    return "\n".join(str(row) for row in rows)


def _is_by_index(plan: str, index: str) -> bool:
    return index in plan and "Seq Scan" not in plan and "SCAN users" not in plan


@pytest.mark.parametrize(
    ("look", "index"),
    [
        (erasure.has_due, "ix_users_deleted"),
        (standing.has_ended_suspensions, "ix_users_suspended"),
    ],
)
def test_what_a_chore_looks_for_is_found_by_an_index_of_the_few(app: Flask, look: Any, index: str) -> None:
    with app.app_context(), work.reading(), statements(app) as seen:
        look()
    [statement] = seen
    assert _is_by_index(_plan(app, statement), index)


def test_whether_there_is_another_administrator_is_found_by_an_index(app: Flask, admin: Person) -> None:
    with statements(app) as seen:
        assert admin.call("DELETE", f"/v1/users/{admin.id}").status_code == 409
    [statement] = [one for one in seen if "role_members" in one.text]
    plan = _plan(app, statement)
    assert _is_by_index(plan, "role_members")
    assert "SCAN role_members" not in plan
