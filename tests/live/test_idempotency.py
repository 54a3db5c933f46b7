"""One key, two processes: one deed, whoever asks at once and whatever is killed."""

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api.kit.ids import new_id
from tests.support.clients import Person, new_details
from tests.support.servers import Answer, Server, serving
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
            time.sleep(random.uniform(0.1, 0.5))
            server.kill()
    before = len(answered)
    with serving(environ | {"TESSERA_WORKERS": "2"}, tmp_path / "last.log") as server:
        for number in range(PEOPLE):
            until_answered(server, *people[number], expected=answered.get(people[number][1]))
    assert before > 0
    assert [number_of(admin, details) for details, _ in people] == [1] * PEOPLE


def until_answered(server: Server, details: dict[str, Any], key: str, expected: bytes | None) -> None:
    """Repeat a request as its sender would: while a process that was killed seems to work on it."""
    while (answer := sign_up(server, details, key)).status == 409:
        assert answer.json["code"] == "request_in_progress"
        time.sleep(int(answer.headers["Retry-After"]))
    assert answer.status == 201, answer.body
    assert expected in (None, answer.body)
