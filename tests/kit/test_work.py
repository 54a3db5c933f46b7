"""The unit of work: what is committed, what is not, and what is held meanwhile."""

from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask

from api.kit import work
from api.kit.db import db
from api.kit.problems import NotFound, Problem
from api.kit.queries import Query
from api.users.models import Role, User
from tests.support.clients import Person
from tests.support.watching import connections_in_use, in_parallel, set_user, user_row

TIMES = 100


class Remembered(Problem):
    """A refusal whose writes are kept."""

    status = 409
    code = "remembered"
    title = "Remembered"
    detail = "Remembered."
    remedy = "None."
    keeps_writes = True


def rename(user: UUID, name: str) -> None:
    db.session.execute(sa.update(User).where(User.id == user).values(display_name=name))


@pytest.fixture
def user(mina: Person) -> UUID:
    return UUID(mina.id)


def test_a_unit_that_ends_well_is_committed(app: Flask, user: UUID) -> None:
    with app.app_context(), work.writing():
        rename(user, "new")
    assert user_row(app, str(user)).display_name == "new"


def test_a_refusal_that_keeps_writes_is_committed_and_goes_on(app: Flask, user: UUID) -> None:
    with app.app_context(), pytest.raises(Remembered), work.writing():
        rename(user, "new")
        raise Remembered()
    assert user_row(app, str(user)).display_name == "new"


@pytest.mark.parametrize("error", [NotFound, ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_else_is_raised_undoes_the_unit(app: Flask, user: UUID, error: type[BaseException]) -> None:
    with app.app_context(), pytest.raises(error), work.writing():
        rename(user, "new")
        raise error()
    assert user_row(app, str(user)).display_name is None


def test_a_unit_is_undone_whole(app: Flask, user: UUID) -> None:
    with app.app_context(), pytest.raises(sa.exc.IntegrityError), work.writing():
        rename(user, "new")
        db.session.execute(sa.update(User).values(version=None))
    assert user_row(app, str(user)).display_name is None


def test_nothing_is_written_in_a_unit_whose_writing_failed(app: Flask, user: UUID) -> None:
    insert = Query(sa.insert(Role))
    now = datetime.now(UTC)
    role = {
        "name": "late",
        "summary": "",
        "permissions": [],
        "created_at": now,
        "updated_at": now,
        "version": 1,
    }
    with app.app_context(), pytest.raises(sa.exc.PendingRollbackError), work.writing():
        work.connection()
        with suppress(sa.exc.IntegrityError):
            db.session.add(Role(**role | {"summary": None}))
            db.session.flush()
        insert.in_unit(role)
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(Role)) == 0


def test_a_unit_leaves_no_connection_taken(app: Flask, user: UUID) -> None:
    with app.app_context():
        for error in (None, NotFound(), Remembered(), ValueError()):
            try:
                with work.writing():
                    rename(user, "new")
                    if error is not None:
                        raise error
            except (Problem, ValueError):
                pass
            assert connections_in_use(app) == 0


def test_a_unit_follows_a_unit_that_was_undone(app: Flask, user: UUID) -> None:
    with app.app_context():
        with pytest.raises(NotFound), work.writing():
            rename(user, "undone")
            raise NotFound()
        with work.writing():
            rename(user, "done")
    assert user_row(app, str(user)).display_name == "done"


def test_reading_before_a_unit_begins_holds_no_connection_afterwards(app: Flask, user: UUID) -> None:
    with app.app_context(), work.writing():
        with work.reading():
            assert db.session.get(User, user) is not None
            assert connections_in_use(app) == 1
        assert connections_in_use(app) == 0
        rename(user, "new")
    assert user_row(app, str(user)).display_name == "new"


def test_reading_within_a_unit_that_has_begun_is_part_of_it(app: Flask, user: UUID) -> None:
    with app.app_context(), pytest.raises(NotFound), work.writing():
        rename(user, "new")
        with work.reading():
            assert db.session.scalar(sa.select(User.display_name).where(User.id == user)) == "new"
        rename(user, "newer")
        raise NotFound()
    assert user_row(app, str(user)).display_name is None


def test_reading_sees_no_unit_that_has_not_ended(app: Flask, user: UUID) -> None:
    with app.app_context(), work.writing():
        rename(user, "new")
        db.session.flush()
        assert user_row(app, str(user)).display_name is None


def test_reading_waits_for_no_writer(app: Flask, user: UUID) -> None:
    with app.app_context(), work.writing():
        rename(user, "new")
        assert in_parallel(1, lambda _: user_row(app, str(user)).display_name) == [None]


def test_a_unit_that_writes_nothing_takes_no_connection(app: Flask) -> None:
    with app.app_context(), work.writing():
        assert connections_in_use(app) == 0


def test_reading_keeps_no_writer_waiting(app: Flask, user: UUID) -> None:
    with app.app_context(), work.reading():
        assert db.session.get(User, user) is not None
        in_parallel(1, lambda _: set_user(app, str(user), display_name="new"))
    assert user_row(app, str(user)).display_name == "new"


def test_no_count_is_lost_between_two_threads_that_read_then_write(app: Flask, user: UUID) -> None:
    """What a driver that begins its transaction with the first write would lose."""
    with app.app_context(), work.writing():
        rename(user, "0")

    def count(_: int) -> None:
        for _ in range(TIMES):
            with app.app_context(), work.writing():
                query = sa.select(User.display_name).where(User.id == user).with_for_update()
                rename(user, str(int(db.session.scalar(query) or 0) + 1))

    in_parallel(2, count)
    assert user_row(app, str(user)).display_name == str(2 * TIMES)
