"""`tessera worker`, killed without a warning while it erases: everybody is erased, and nobody by half."""

import os
import random
import signal
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from flask import Flask

from api.kit import work
from api.kit.db import db
from api.kit.one_time import OneTimeToken
from api.sessions.models import Session
from api.users import roles
from api.users.models import RoleMember, User
from tests.support.waiting import wait_until
from tests.support.workers import Nursery, workers

pytestmark = pytest.mark.long

USERS = 4000
STAYING = 20
AT_ONCE = 2  # workers
APART = 400  # users at most who are erased between two kills


def test_everybody_who_is_due_is_erased_whole_though_workers_are_killed(
    app: Flask, environ: dict[str, str]
) -> None:
    due, staying = _users(app, USERS, days=40), _users(app, STAYING, days=20)
    with workers(environ) as nursery:
        halves = _kill_and_replace(app, nursery)
        nursery.start()
        wait_until(lambda: not _ids(app, User.id) & due, "all who are due are erased", seconds=180)
    assert halves == []
    assert _ids(app, User.id) == staying
    assert _ids(app, Session.user_id) == _ids(app, OneTimeToken.user_id) == staying
    assert _ids(app, RoleMember.user_id) == staying


def _kill_and_replace(app: Flask, nursery: Nursery) -> list[UUID]:
    """Kill one of the workers after a random number of erased users, until half of the users are gone.

    Return whom somebody saw erased by half meanwhile.
    """
    running = [nursery.start() for _ in range(AT_ONCE)]
    halves: set[UUID] = set()
    while (left := len(_ids(app, User.id))) > USERS // 2:
        _wait_until_at_most(app, left - random.randrange(APART))
        os.kill(running.pop(random.randrange(AT_ONCE)), signal.SIGKILL)
        halves |= _halves(app)
        running.append(nursery.start())
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    return sorted(halves)


def _wait_until_at_most(app: Flask, users: int) -> None:
    wait_until(lambda: len(_ids(app, User.id)) <= users, f"at most {users} users are left")


def _halves(app: Flask) -> set[UUID]:
    """Return of whom there is one thing and not the other, as one statement sees them."""
    things = [sa.select(column) for column in (User.id, Session.user_id, OneTimeToken.user_id)]
    every = sa.union_all(*things).subquery()
    half = sa.select(every.c.id).group_by(every.c.id).having(sa.func.count() != len(things))
    with app.app_context(), work.reading():
        return set(db.session.scalars(half))


def _ids(app: Flask, column: Any) -> set[UUID]:
    with app.app_context(), work.reading():
        return set(db.session.scalars(sa.select(column)))


def _users(app: Flask, number: int, *, days: int) -> set[UUID]:
    """Make users who were deleted so many days ago, each with a session, a token and a role."""
    ago = datetime.now(UTC) - timedelta(days=days)
    ids = [uuid4() for _ in range(number)]
    user: dict[str, Any] = {
        "email_verified": False, "password_hash": "x", "password_changed_at": ago, "status": "deleted",
        "roles": ["role"], "user_metadata": {}, "app_metadata": {}, "created_at": ago, "updated_at": ago,
        "deleted_at": ago, "version": 1,
    }  # fmt: skip
    session: dict[str, Any] = {
        "generation": 0, "confirmed": True, "amr": ["pwd"], "created_at": ago, "authenticated_at": ago,
        "last_used_at": ago, "expires_at": datetime.now(UTC) + timedelta(days=1),
    }  # fmt: skip
    token: dict[str, Any] = {
        "purpose": "email_change", "address": "x@example.com", "created_at": ago,
        "expires_at": datetime.now(UTC) + timedelta(days=1),
    }  # fmt: skip
    with app.app_context(), work.writing():
        db.session.execute(sa.insert(User), [user | {"id": one} for one in ids])
        db.session.execute(sa.insert(Session), [session | {"id": uuid4(), "user_id": one} for one in ids])
        tokens = [token | {"id": uuid4(), "user_id": one, "digest": one.bytes * 2} for one in ids]
        db.session.execute(sa.insert(OneTimeToken), tokens)
        roles.note_members_of({one: ["role"] for one in ids})
    return set(ids)
