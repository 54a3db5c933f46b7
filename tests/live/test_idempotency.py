"""One key, two processes: one deed, whoever asks at once and whatever is killed."""

import random
from collections import Counter
from collections.abc import Sized
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from api.kit import idempotency, work
from api.kit.db import db
from api.kit.idempotency import IdempotencyKey
from api.kit.ids import new_id
from tests.support.clients import Person, new_details
from tests.support.servers import Answer, Server, serving
from tests.support.waiting import wait_until
from tests.support.watching import in_parallel

pytestmark = pytest.mark.long

PEOPLE = 60


def sign_up(server: Server, details: dict[str, Any], key: str) -> Answer:
    return server.call("POST", "/v1/users", details, {"Idempotency-Key": key})


def number_of(admin: Person, details: dict[str, Any]) -> int:
    found = admin.call("GET", f"/v1/users?username={details['username']}&count=exact")
    return int(found.get_json()["total"])


def test_of_50_at_once_one_signs_up_and_all_get_its_answer_or_are_told_to_wait(
    server: Server, admin: Person
) -> None:
    details, key = new_details(), str(new_id())
    answers = in_parallel(50, lambda _: sign_up(server, details, key))
    by_status = Counter(answer.status for answer in answers)
    assert by_status.keys() <= {201, 409}
    assert {answer.json["code"] for answer in answers if answer.status == 409} <= {"request_in_progress"}
    assert len({answer.body for answer in answers if answer.status == 201}) == 1
    assert sign_up(server, details, key).body in {a.body for a in answers if a.status == 201}
    assert number_of(admin, details) == 1


def test_whoever_repeats_what_was_cut_off_by_kill_9_signs_up_once(
    app: Flask, admin: Person, environ: dict[str, str], tmp_path: Path
) -> None:
    people = [(new_details(), str(new_id())) for _ in range(PEOPLE)]
    answered: dict[str, bytes] = {}

    def try_once(server: Server, number: int) -> None:
        details, key = people[number]
        try:
            answer = sign_up(server, details, key)
        except (OSError, ValueError):
            return
        if answer.status == 201:
            assert answered.setdefault(key, answer.body) == answer.body

    for attempt in range(3):
        with (
            serving(environ | {"TESSERA_WORKERS": "2"}, tmp_path / f"{attempt}.log") as server,
            ThreadPoolExecutor(8) as pool,
        ):
            for number in random.sample(range(PEOPLE), PEOPLE):
                pool.submit(try_once, server, number)
            _wait_for_answers(answered, random.randint(1, PEOPLE // 4))
            server.kill()
    before = len(answered)
    assert before > 0
    _end_leases(app)
    with serving(environ | {"TESSERA_WORKERS": "2"}, tmp_path / "last.log") as server:
        for details, key in people:
            answer = sign_up(server, details, key)
            assert answer.status == 201, answer.body
            assert answered.get(key) in (None, answer.body)
    assert [number_of(admin, details) for details, _ in people] == [1] * PEOPLE


def _end_leases(app: Flask) -> None:
    """Let the time pass in which a process that was killed seems to work on a request."""
    ended = datetime.now(UTC) - idempotency.LEASE
    with app.app_context(), work.writing():
        db.session.execute(
            sa.update(IdempotencyKey).values(claimed_at=ended).where(IdempotencyKey.answer.is_(None))
        )


def _wait_for_answers(answered: Sized, count: int) -> None:
    """Wait until so many more are answered."""
    already = len(answered)
    wait_until(lambda: len(answered) >= already + count, f"{count} sign-ups are answered")
