"""Workers killed without a warning in the middle of an import: the result is the same as without."""

import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask

from api.bulk import running, service
from api.bulk.models import ImportRefusal, UserImport
from api.bulk.running import BATCH_ROWS
from api.kit import clock, work
from api.kit.db import db
from api.users.models import User
from tests.bulk.conftest import NDJSON, deliver_all, exported, lines_of, row
from tests.support.clients import Person
from tests.support.waiting import wait_until
from tests.support.workers import workers

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("patient_app")]

ROWS = 24_000
KILLS = 5
LEASE = 0.5  # seconds
ANSWERS = 60  # about as many as come while a batch of rows is imported
IMPORT_SECONDS = 600  # in which a busy machine imports all
ID = "0199d2a4-7b1e-7c63-9f21-{:012x}"
AT = "2026-01-02T03:04:05Z"


def _file() -> bytes:
    """Return rows of which one in a hundred is refused, for it is unfit or comes twice."""
    rows = []
    for n in range(ROWS):
        more: dict[str, Any] = {"created_at": AT, "metadata": {"n": n}}
        name = f"user{n - 1}" if n % 200 == 100 else f"a b{n}" if n % 200 == 0 else f"user{n}"
        rows.append(row(name, id=ID.format(n), **more))
    return lines_of(*rows)


def _outcome(app: Flask, admin: Person, import_id: str) -> tuple[dict[str, Any], list[Any], bytes]:
    """Return the counts, the refusals and all users."""
    job = _job(admin, import_id)
    counts = {name: job[name] for name in ("status", "rows", "created", "updated", "skipped", "refused")}
    with app.app_context():
        where = sa.select(ImportRefusal.line, ImportRefusal.number, ImportRefusal.code)
        found = work.read_all(where.where(ImportRefusal.import_id == UUID(import_id)))
    return counts, sorted(tuple(refusal) for refusal in found), exported(admin)


def _sent(admin: Person) -> str:
    answer = admin.client.post("/v1/user-imports", data=_file(), content_type=NDJSON, headers=admin.bearer)
    assert answer.status_code == 202
    return str(answer.get_json()["id"])


def _job(admin: Person, import_id: str) -> dict[str, Any]:
    found: dict[str, Any] = admin.call("GET", f"/v1/user-imports/{import_id}").get_json()
    return found


def _wait_until_imported(admin: Person, import_id: str, rows: int) -> None:
    """Wait until so many rows are imported, and then for a random number of further answers."""
    wait_until(lambda: _job(admin, import_id)["rows"] >= rows, f"{rows} rows are imported")
    for _ in range(random.randint(0, ANSWERS)):
        _job(admin, import_id)


def test_an_import_survives_kill_9_and_two_workers_at_once(
    app: Flask, environ: dict[str, str], admin: Person
) -> None:
    kills = sorted(random.sample(range(0, ROWS - BATCH_ROWS, BATCH_ROWS), KILLS))
    with workers(environ, LEASE) as nursery:
        deliver_all(app)  # the emails
        import_id = _sent(admin)
        pids = [nursery.start() for _ in range(2)]
        for rows in kills:
            _wait_until_imported(admin, import_id, rows)
            os.kill(pids.pop(0), signal.SIGKILL)
            pids.append(nursery.start())
        wait_until(lambda: _job(admin, import_id)["status"] == "finished", "it is finished", IMPORT_SECONDS)
    killed = _outcome(app, admin, import_id)
    assert killed[0] == {
        "status": "finished", "rows": ROWS, "created": ROWS - ROWS // 100, "updated": 0, "skipped": 0,
        "refused": ROWS // 100,
    }  # fmt: skip
    with app.app_context(), work.writing():
        db.session.execute(sa.delete(User).where(User.created_at < clock.now() - timedelta(days=1)))
    undisturbed = _sent(admin)
    deliver_all(app)
    whole = _outcome(app, admin, undisturbed)
    assert whole[:2] == killed[:2]
    assert _facts(whole[2]) == _facts(killed[2])


def _facts(export: bytes) -> set[bytes]:
    """Return the lines of an export, less those that tell when a row was read."""
    return {line.partition(b'"last_seen_at"')[0] for line in export.splitlines() if b'"user' in line}


def test_a_batch_that_two_bring_on_counts_once(app: Flask, admin: Person) -> None:
    import_id = UUID(_sent(admin))
    with app.app_context(), work.reading():
        job = service.get(import_id)

    def bring_on(_: int) -> bool:
        with app.app_context():
            return running.advance(job, running.uploaded(import_id))

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(bring_on, range(4))) == [False, False, False, True]
    with app.app_context(), work.reading():
        done = service.get(import_id)
    assert 0 < done.position < len(_file())
    assert done.rows == _file()[: done.position].count(b"\n")  # a slow machine's batch has fewer
    assert done.rows == done.created + done.refused


def test_of_two_imports_that_wait_for_each_other_both_end(app: Flask, admin: Person) -> None:
    """They bring the same people in opposite orders: PostgreSQL ends one of two that deadlock."""
    rows = [row(f"user{n}", email=f"{n}@example.com") for n in range(1500)]
    ids = []
    for file in (rows, rows[::-1]):
        answer = admin.client.post(
            "/v1/user-imports", data=lines_of(*file), content_type=NDJSON, headers=admin.bearer
        )
        ids.append(UUID(answer.get_json()["id"]))

    def bring_on(import_id: UUID) -> bool:
        with app.app_context():
            with work.reading():
                job = service.get(import_id)
            return running.advance(job, running.uploaded(import_id))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(bring_on, ids)) == [True, True]
    with app.app_context(), work.reading():
        jobs = [service.get(import_id) for import_id in ids]
    assert [job.created + job.refused for job in jobs] == [1500, 1500]
    assert sum(job.created for job in jobs) == 1500


def test_a_batch_that_fails_leaves_nothing(
    app: Flask, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_id = UUID(_sent(admin))
    before = exported(admin)
    monkeypatch.setattr(running, "owe_batch", _fail)
    with app.app_context():
        with work.reading():
            job = service.get(import_id)
        with pytest.raises(ZeroDivisionError):
            running.advance(job, running.uploaded(import_id), owes_next=True)
        with work.reading():
            found = db.session.scalars(sa.select(UserImport)).one()
            assert (found.position, found.rows) == (0, 0)
    assert exported(admin) == before


def _fail(*_: object) -> None:
    raise ZeroDivisionError


def test_sign_ups_meanwhile_are_met(app: Flask, admin: Person) -> None:
    """Somebody signs up with a name of the file while a batch is written."""
    rows = [row(f"user{n}") for n in range(1500)]
    answer = admin.client.post(
        "/v1/user-imports", data=lines_of(*rows), content_type=NDJSON, headers=admin.bearer
    )

    def sign_up(n: int) -> int:
        details = row(f"user{n * 37}", password="correct horse battery staple")
        return app.test_client().post("/v1/users", json=details).status_code

    with ThreadPoolExecutor(4) as pool:
        done = pool.submit(deliver_all, app)
        signed_up = list(pool.map(sign_up, range(40))).count(201)
        done.result()
    deliver_all(app)
    job = admin.call("GET", f"/v1/user-imports/{answer.get_json()['id']}").get_json()
    assert job["created"] + job["refused"] == 1500
    names = [line for line in exported(admin).splitlines() if b'"username":"user' in line]
    assert job["created"] == 1500 - signed_up, "whoever came second was refused"
    assert len(names) == 1500 + 1
