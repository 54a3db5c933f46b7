"""Chores are done from time to time, by one process at a time, a step at a time."""

import threading
from collections.abc import Callable
from queue import Queue

import pytest
import sqlalchemy as sa
from flask import Flask

from api.kit import clock, work
from api.kit.chores import Chores
from api.kit.db import db
from api.kit.feature import Chore, Feature
from api.kit.outbox import Courier
from tests.support import databases


def feature(*found: Chore) -> Feature:
    return Feature(name="tidy", summary="Tidies up.", chores=found)


def chore(act: Callable[[], bool], *, name: str = "tidy", seconds: int = 60, needed: bool = True) -> Chore:
    return Chore(name, seconds, lambda: needed, act)


def test_it_is_due_at_once_and_then_after_its_time(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    now, done = [1000.0], [0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])

    def act() -> bool:
        done[0] += 1
        return False

    found = Chores(app, [chore(act)])
    answers = []
    for seconds in (0, 0, 44, 32, 0):
        now[0] += seconds
        answers.append((found.do_next(), done[0]))
    assert answers == [(True, 1), (False, 1), (False, 1), (True, 2), (False, 2)]


def test_it_goes_on_while_there_is_more_and_others_come_between(app: Flask) -> None:
    done: list[str] = []

    def act(name: str) -> Callable[[], bool]:
        def step() -> bool:
            done.append(name)
            return done.count(name) < 3

        return step

    found = Chores(app, [chore(act("a"), name="a"), chore(act("b"), name="b")])
    while found.do_next():
        pass
    assert sorted(done) == ["a", "a", "a", "b", "b", "b"]


def test_what_is_not_needed_takes_no_turn_to_write(app: Flask) -> None:
    def act() -> bool:
        raise AssertionError("not needed")

    assert Chores(app, [chore(act, needed=False)]).do_next()


def test_one_that_fails_is_undone_and_stops_no_other(app: Flask) -> None:
    done: list[str] = []

    def fail() -> bool:
        db.session.execute(
            sa.text("INSERT INTO roles VALUES ('half', '', '[]', '2026-01-01', '2026-01-01', 1)")
        )
        raise RuntimeError("half done")

    def act() -> bool:
        done.append("other")
        return False

    found = Chores(app, [chore(fail, name="a"), chore(act, name="b")])
    while found.do_next():
        pass
    assert done == ["other"]
    with app.app_context(), work.reading():
        assert db.session.scalar(sa.text("SELECT count(*) FROM roles")) == 0


@databases.ON_POSTGRESQL
def test_while_one_does_it_the_others_leave_it(app: Flask) -> None:
    """On SQLite they take turns instead: there the second one comes when the first has ended."""
    begun, go_on, done = threading.Event(), threading.Event(), []

    def slow() -> bool:
        begun.set()
        done.append("slow")
        assert go_on.wait(10)
        return False

    def quick() -> bool:
        done.append("quick")
        return False

    thread = threading.Thread(target=Chores(app, [chore(slow)]).do_next)
    thread.start()
    assert begun.wait(10)
    Chores(app, [chore(quick)]).do_next()
    go_on.set()
    thread.join(10)
    assert done == ["slow"]
    Chores(app, [chore(quick)]).do_next()
    assert done == ["slow", "quick"]


def test_the_courier_does_them_besides(app: Flask) -> None:
    done: Queue[str] = Queue()

    def act() -> bool:
        done.put("done")
        return False

    courier = Courier(app, [feature(chore(act))])
    thread = threading.Thread(target=courier.run)
    thread.start()
    try:
        assert done.get(timeout=10) == "done"
    finally:
        courier.stop()
        thread.join(10)
    assert not thread.is_alive()


def test_a_courier_that_is_told_to_stop_leaves_what_is_left(app: Flask) -> None:
    steps: Queue[None] = Queue()

    def endless() -> bool:
        steps.put(None)
        return True

    courier = Courier(app, [feature(chore(endless))])
    thread = threading.Thread(target=courier.run)
    thread.start()
    steps.get(timeout=10)
    courier.stop()
    thread.join(10)
    assert not thread.is_alive()
