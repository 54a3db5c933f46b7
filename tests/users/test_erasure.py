"""Deleted users can be restored for a while; then they are erased, with everything held about them."""

import secrets
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from api.kit import work
from api.kit.db import Base, db
from api.kit.outbox import Owed
from api.users.erasure import UsersErased
from api.users.models import User
from tests.conftest import MakeApp
from tests.support.chores import do_chores
from tests.support.clients import PASSWORD, Person, new_person
from tests.support.mail import Mailbox, deliver_all
from tests.support.roles import give, new_role
from tests.support.watching import in_parallel, listening, set_user, user_row

ME = "/v1/users/me"


def refusal(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.get_json()["code"]


def restore(by: Person, whom: Person) -> TestResponse:
    return by.call("POST", f"/v1/users/{whom.id}/restoration")


def deleted(app: Flask, person: Person, days: float) -> None:
    """Delete somebody, so many days ago."""
    assert person.call("DELETE", ME).status_code == 204
    set_user(app, person.id, deleted_at=datetime.now(UTC) - timedelta(days=days))


def mentions(app: Flask, person: Person) -> list[str]:
    """Return the tables that hold a user's id or name in any column; the audit trail may keep the id."""
    ids, name = (person.id, person.id.replace("-", "")), person.user["username"]
    found = []
    with app.app_context(), db.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            rows = connection.execute(sa.select(table)).all()
            needles = (name,) if table.name == "audit_events" else (*ids, name)
            if any(needle in str(tuple(map(str, row))) for row in rows for needle in needles):
                found.append(table.name)
    return found


# Restoration


def test_who_was_deleted_is_restored_and_signs_in(admin: Person, mina: Person) -> None:
    mina.call("DELETE", ME)
    restored = restore(admin, mina).get_json()
    assert (restored["id"], restored["status"]) == (mina.id, "active")
    assert mina.sign_in()["user"]["username"] == mina.user["username"]
    assert refusal(mina.call("GET", ME)) == (401, "invalid_token")


def test_roles_are_restored_with_their_user(app: Flask, admin: Person, mina: Person) -> None:
    role = new_role(app, "users:read")
    give(app, mina.id, role)
    mina.call("DELETE", ME)
    assert restore(admin, mina).get_json()["roles"] == [role]
    mina.tokens = mina.sign_in()
    assert mina.call("GET", "/v1/users").status_code == 200


def test_who_was_suspended_is_so_again(app: Flask, admin: Person, mina: Person) -> None:
    admin.call("POST", f"/v1/users/{mina.id}/suspension", {"reason": "Spam.", "until": None})
    admin.call("DELETE", f"/v1/users/{mina.id}")
    assert restore(admin, mina).get_json()["status"] == "suspended"
    assert admin.call("GET", f"/v1/users/{mina.id}/suspension").get_json()["reason"] == "Spam."


def test_who_has_changed_since_is_not_restored(admin: Person, mina: Person) -> None:
    seen = admin.call("GET", f"/v1/users/{mina.id}").headers["ETag"]
    admin.call("DELETE", f"/v1/users/{mina.id}")
    path = f"/v1/users/{mina.id}/restoration"
    assert refusal(admin.call("POST", path, If_Match=seen)) == (412, "precondition_failed")
    now = admin.call("GET", f"/v1/users/{mina.id}").headers["ETag"]
    assert admin.call("POST", path, If_Match=now).status_code == 200


def test_who_is_not_deleted_is_not_restored(admin: Person, mina: Person) -> None:
    assert refusal(restore(admin, mina)) == (409, "not_deleted")
    assert refusal(admin.call("POST", f"/v1/users/{uuid4()}/restoration")) == (404, "not_found")


def test_nobody_restores_themselves(mina: Person) -> None:
    mina.call("DELETE", ME)
    assert mina.call("POST", f"{ME}/restoration").status_code == 401


# Erasure


def test_nobody_is_erased_before_their_time(app: Flask, admin: Person, mina: Person) -> None:
    deleted(app, mina, days=29.9)
    do_chores(app)
    assert restore(admin, mina).status_code == 200


def test_after_their_time_nothing_is_left(app: Flask, admin: Person, mina: Person) -> None:
    give(app, mina.id, new_role(app))
    mina.client.post("/v1/password-resets", json={"email": mina.user["email"]})
    deliver_all(app)
    assert {"users", "sessions", "role_members", "one_time_tokens"} <= set(mentions(app, mina))
    deleted(app, mina, days=30.1)
    do_chores(app)
    assert mentions(app, mina) == []
    assert refusal(admin.call("GET", f"/v1/users/{mina.id}")) == (404, "not_found")
    assert refusal(restore(admin, mina)) == (404, "not_found")
    assert admin.call("GET", ME).status_code == 200


def test_letters_that_wait_go_as_well(app: Flask, mina: Person, ken: Person, mailbox: Mailbox) -> None:
    deliver_all(app)
    for person in (mina, ken):
        body = {"current_password": PASSWORD, "new_password": f"violet {secrets.token_hex(8)}"}
        assert person.call("PUT", f"{ME}/password", body).status_code == 204
    deleted(app, mina, days=31)
    do_chores(app)
    with app.app_context(), work.reading():
        assert list(db.session.scalars(sa.select(Owed.about))) == [UUID(ken.id)]


def test_username_and_address_are_free_again(app: Flask, mina: Person) -> None:
    details = {name: mina.user[name] for name in ("username", "email")} | {"password": PASSWORD}
    deleted(app, mina, days=31)
    assert refusal(mina.client.post("/v1/users", json=details))[0] == 409
    do_chores(app)
    assert mina.client.post("/v1/users", json=details).status_code == 201


def test_only_who_is_deleted_is_erased(app: Flask, mina: Person) -> None:
    set_user(app, mina.id, deleted_at=datetime.now(UTC) - timedelta(days=90))
    do_chores(app)
    assert mina.call("GET", ME).status_code == 200


def test_the_time_is_a_setting(make_app: MakeApp, app: Flask, mina: Person) -> None:
    deleted(app, mina, days=2.5)
    do_chores(make_app(ERASURE_DAYS="3"))
    assert user_row(app, mina.id).status == "deleted"
    do_chores(make_app(ERASURE_DAYS="2"))
    assert mentions(app, mina) == []


def test_more_than_one_batch_is_erased_and_told_of(app: Flask, mina: Person) -> None:
    ids = _many_deleted(app, 120)
    told: list[tuple[UUID, ...]] = []
    with listening(app, (UsersErased, lambda event: told.append(event.user_ids))):
        do_chores(app)
    assert sorted(one for batch in told for one in batch) == sorted(ids)
    assert max(len(batch) for batch in told) <= 50
    assert _count(app) == 1


def test_what_a_listener_cannot_erase_leaves_everything(app: Flask, mina: Person) -> None:
    deleted(app, mina, days=31)

    def fail(_: UsersErased) -> None:
        raise RuntimeError("no")

    with listening(app, (UsersErased, fail)):
        do_chores(app)
    assert {"users", "sessions"} <= set(mentions(app, mina))
    do_chores(app)
    assert mentions(app, mina) == []


def test_several_who_erase_at_once_erase_each_once(app: Flask, admin: Person) -> None:
    ids = _many_deleted(app, 300)
    told: list[UUID] = []
    with listening(app, (UsersErased, lambda event: told.extend(event.user_ids))):
        in_parallel(4, lambda _: do_chores(app))
        do_chores(app)
    assert sorted(told) == sorted(ids)
    assert _count(app) == 1


def test_who_is_due_is_restored_or_erased_but_not_half(app: Flask, admin: Person) -> None:
    for _ in range(8):
        person = new_person(app)
        give(app, person.id, new_role(app))
        deleted(app, person, days=31)
        answer = _restored_while_erasing(app, admin, person)
        assert answer.status_code in (200, 404)
        if answer.status_code == 404:
            assert mentions(app, person) == []
        else:
            assert person.sign_in()["user"]["roles"] == user_row(app, person.id).roles


def _restored_while_erasing(app: Flask, admin: Person, person: Person) -> TestResponse:
    thread = Thread(target=do_chores, args=(app,))
    thread.start()
    answer = restore(admin, person)
    thread.join(10)
    return answer


def _many_deleted(app: Flask, number: int) -> list[UUID]:
    """Make users who were deleted long ago, and return their ids."""
    long_ago = datetime.now(UTC) - timedelta(days=40)
    rows: list[dict[str, Any]] = [
        {
            "id": uuid4(), "email_verified": False, "password_hash": "x", "password_changed_at": long_ago,
            "status": "deleted", "roles": [], "user_metadata": {}, "app_metadata": {}, "created_at": long_ago,
            "updated_at": long_ago, "deleted_at": long_ago, "version": 1,
        }
        for _ in range(number)
    ]  # fmt: skip
    with app.app_context(), work.writing():
        db.session.execute(sa.insert(User), rows)
    return [row["id"] for row in rows]


def _count(app: Flask) -> int:
    with app.app_context(), work.reading():
        return db.session.scalar(sa.select(sa.func.count()).select_from(User)) or 0


def test_an_address_that_is_erased_gets_no_letter_that_was_asked_for_before(
    app: Flask, mina: Person, mailbox: Mailbox
) -> None:
    mailbox.deliver()
    mina.client.post("/v1/password-resets", json={"email": mina.user["email"]})
    deleted(app, mina, days=31)
    do_chores(app)
    assert mailbox.deliver() == []
