"""Administrators who remove each other at two servers: one is left, always, and nobody waits for ever."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask

from api.kit import work
from api.kit.db import db
from api.users.models import RoleMember, User
from api.users.roles import ADMIN
from tests.races.harness import INVALID_TOKEN, PROCESSES, Pair, Request, jitter, refusal
from tests.support.clients import Person, new_person
from tests.support.watching import user_row

pytestmark = pytest.mark.long

ROUNDS = 6
LAST = (409, "last_administrator")
NO_ADMINISTRATOR = ((403, "permission_denied"), (404, "not_found"))  # any more, when the request began

Removal = Callable[[Person, Person, int], Request]


def demotion(by: Person, whom: Person, at: int) -> Request:
    path = f"/v1/users/{whom.id}/roles/admin"
    return Request(at, "DELETE", path, token=by.tokens["access_token"], after=jitter())


def deletion(by: Person, whom: Person, at: int) -> Request:
    return Request(at, "DELETE", f"/v1/users/{whom.id}", token=by.tokens["access_token"], after=jitter())


def suspension(by: Person, whom: Person, at: int) -> Request:
    body = {"reason": "A race.", "until": None}
    path = f"/v1/users/{whom.id}/suspension"
    return Request(at, "POST", path, body, by.tokens["access_token"], after=jitter())


@pytest.mark.parametrize(
    "removals",
    [(demotion, demotion), (deletion, demotion), (suspension, deletion)],
    ids=lambda pair: "-".join(removal.__name__ for removal in pair),
)
def test_two_who_remove_each_other_leave_one(
    app: Flask, pair: Pair, removals: tuple[Removal, Removal]
) -> None:
    _forget_administrators(app)  # of other tests
    for _ in pair.rounds(ROUNDS):
        people = [new_person(app, admin=True) for _ in PROCESSES]
        crossed = zip(removals, people, reversed(people), PROCESSES, strict=True)
        answers = pair.race([removal(by, whom, at) for removal, by, whom, at in crossed])
        refused = [refusal(answer) for answer in answers if answer.status >= 400]
        assert len(refused) == 1
        assert refused[0] in (LAST, INVALID_TOKEN, *NO_ADMINISTRATOR)
        rows = [user_row(app, person.id) for person in people]
        assert [row.status == "active" and "admin" in row.roles for row in rows].count(True) == 1
        _forget_administrators(app)


def _forget_administrators(app: Flask) -> None:
    """Remove them behind the service's back: the next two are to be the only ones."""
    administrators = sa.select(RoleMember.user_id).where(RoleMember.role == ADMIN)
    with app.app_context(), work.writing():
        db.session.execute(sa.delete(User).where(User.id.in_(administrators)))
