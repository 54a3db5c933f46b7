"""The last administrator stays one, whatever is tried, and by two at once as well."""

from collections.abc import Callable
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from api.kit import work
from api.kit.db import db
from api.users.models import RoleMember, User
from tests.support.clients import Person, client_of, new_person
from tests.support.roles import new_holder
from tests.support.watching import in_parallel

ROUNDS = 12
LAST = (409, "last_administrator")


def refusal(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.get_json()["code"]


def administrators(app: Flask) -> set[str]:
    """Return who administers, by the table and by the users' own lists: they say the same."""
    with app.app_context(), work.reading():
        rows = db.session.execute(sa.select(User.id, User.roles).where(User.status == "active")).all()
        listed = {str(row.id) for row in rows if "admin" in row.roles}
        members = sa.select(RoleMember.user_id).where(RoleMember.role == "admin")
        noted = {str(user_id) for user_id in db.session.scalars(members)} & {str(row.id) for row in rows}
    assert listed == noted
    return listed


def demote(by: Person, whom: Person) -> TestResponse:
    return _send(by, "DELETE", f"/v1/users/{whom.id}/roles/admin")


def delete(by: Person, whom: Person) -> TestResponse:
    return _send(by, "DELETE", f"/v1/users/{whom.id}")


def suspend(by: Person, whom: Person) -> TestResponse:
    return _send(by, "POST", f"/v1/users/{whom.id}/suspension", {"reason": "A race.", "until": None})


def _send(by: Person, method: str, path: str, body: dict[str, str | None] | None = None) -> TestResponse:
    client = client_of(by.client.application)
    return client.open(path, method=method, headers=by.bearer, json=body)


Removal = Callable[[Person, Person], TestResponse]


@pytest.mark.parametrize("removal", [demote, delete])
def test_the_last_one_does_not_leave(app: Flask, admin: Person, removal: Removal) -> None:
    assert refusal(removal(admin, admin)) == LAST
    assert administrators(app) == {admin.id}
    assert admin.call("GET", "/v1/users").status_code == 200


@pytest.mark.parametrize("removal", [demote, delete, suspend])
def test_whoever_has_every_permission_by_another_role_does_not_remove_the_last_one(
    app: Flask, admin: Person, removal: Removal
) -> None:
    everything = [permission.name for permission in app.extensions["tessera"].permissions]
    assert refusal(removal(new_holder(app, *everything), admin)) == LAST
    assert administrators(app) == {admin.id}


@pytest.mark.parametrize("removal", [demote, delete, suspend])
def test_one_of_two_is_removed(app: Flask, admin: Person, removal: Removal) -> None:
    other = new_person(app, admin=True)
    assert removal(admin, other).status_code < 300
    assert administrators(app) == {admin.id}


def test_who_is_suspended_does_not_count(app: Flask, admin: Person) -> None:
    other = new_person(app, admin=True)
    assert suspend(admin, other).status_code == 200
    assert refusal(demote(admin, admin)) == LAST
    assert demote(admin, other).status_code == 204, "nor is missed"


def test_who_is_deleted_does_not_count(app: Flask, admin: Person) -> None:
    assert delete(admin, new_person(app, admin=True)).status_code == 204
    assert refusal(delete(admin, admin)) == LAST


def test_another_role_of_the_last_one_can_be_taken(app: Flask, admin: Person) -> None:
    admin.call("POST", "/v1/roles", {"name": "more", "summary": "More.", "permissions": []})
    assert admin.call("PUT", f"/v1/users/{admin.id}/roles/more").status_code == 204
    assert admin.call("DELETE", f"/v1/users/{admin.id}/roles/more").status_code == 204
    assert administrators(app) == {admin.id}


@pytest.mark.long
@pytest.mark.parametrize(
    "removals",
    [(demote, demote), (delete, delete), (suspend, suspend), (demote, delete), (delete, suspend)],
    ids=lambda pair: "-".join(removal.__name__ for removal in pair),
)
def test_two_who_remove_each_other_leave_one(app: Flask, removals: tuple[Removal, Removal]) -> None:
    for _ in range(ROUNDS):
        pair = [new_person(app, admin=True) for _ in range(2)]
        answers = _at_once(*zip(removals, pair, reversed(pair), strict=True))
        _one_is_left(app, pair, answers)


@pytest.mark.long
@pytest.mark.parametrize("removal", [demote, delete])
def test_of_four_who_leave_at_once_one_stays(app: Flask, removal: Removal) -> None:
    for _ in range(ROUNDS // 2):
        four = [new_person(app, admin=True) for _ in range(4)]
        answers = _at_once(*((removal, person, person) for person in four))
        assert sorted(answer.status_code for answer in answers) == [204, 204, 204, 409]
        _one_is_left(app, four, answers)


def _at_once(*removals: tuple[Removal, Person, Person]) -> list[TestResponse]:
    def remove(number: int) -> TestResponse:
        removal, by, whom = removals[number]
        return removal(by, whom)

    return in_parallel(len(removals), remove)


def _one_is_left(app: Flask, people: list[Person], answers: list[TestResponse]) -> None:
    """Fail unless one of some who left at once is an administrator; then nobody is any more."""
    assert not [answer.text for answer in answers if answer.status_code >= 500]
    assert len(administrators(app) & {person.id for person in people}) == 1
    with app.app_context(), work.writing():
        ids = [UUID(person.id) for person in people]
        db.session.execute(sa.delete(User).where(User.id.in_(ids)))
