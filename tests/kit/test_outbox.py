"""The outbox: what is owed arrives if its unit of work commits, and is tried until it does."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from api.kit import mail, outbox, work
from api.kit.actor import Actor, current_actor
from api.kit.db import db
from api.kit.feature import Chore, Feature
from api.kit.outbox import Courier, Owed, Undeliverable
from api.kit.problems import NotFound
from tests.conftest import MakeApp
from tests.kit.conftest import MakeOffline
from tests.support.clients import new_details
from tests.support.commands import tessera, tessera_of
from tests.support.databases import ON_SQLITE, read_apart
from tests.support.gates import Gate, gate
from tests.support.ledger import Ledger, ledger
from tests.support.mail import Mailbox, deliver_all
from tests.support.servers import ROOT, STOPPED_AGAIN, Server, serving
from tests.support.waiting import DEADLINE, wait_until
from tests.support.watching import in_parallel
from tests.support.workers import workers

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CANARY = "canary-7c1d9e5b"


@dataclass
class Probe:
    """A feature from outside that owes things, and notes what of it is delivered."""

    delivered: list[tuple[UUID, dict[str, Any]]] = field(default_factory=list)
    fail: Callable[[dict[str, Any]], None] = lambda _: None
    work: Callable[[dict[str, Any]], Any] = lambda _: None

    @property
    def feature(self) -> Feature:
        deliveries, tasks = {"probe": self.deliver}, {"task": lambda content: self.work(content)}
        return Feature(name="probe", summary="Owes things.", deliveries=deliveries, tasks=tasks)

    def deliver(self, owed_id: UUID, content: dict[str, Any]) -> None:
        self.fail(content)
        self.delivered.append((owed_id, content))

    @property
    def numbers(self) -> list[int]:
        return [content["number"] for _, content in self.delivered]

    def join(self, app: Flask) -> Flask:
        """Let an app's courier deliver for this feature as well."""
        features = [*app.extensions["tessera"].features, self.feature]
        app.extensions["tessera.courier"] = Courier(app, features)
        return app


@pytest.fixture
def probe() -> Probe:
    return Probe()


@pytest.fixture
def probed(make_app: MakeApp, probe: Probe) -> Flask:
    """A service whose courier delivers for the probe."""
    return probe.join(make_app())


def owe(app: Flask, count: int = 1, kind: str = "probe", **content: Any) -> list[UUID]:
    """Owe things in one unit of work."""
    with app.app_context(), work.writing():
        return [outbox.owe(kind, {"number": number, **content}) for number in range(count)]


def rows(app: Flask) -> list[Owed]:
    with app.app_context(), work.reading():
        return list(db.session.scalars(sa.select(Owed).order_by(Owed.id)))


def row(app: Flask) -> Owed:
    [found] = rows(app)
    return found


def refuse(error: Exception) -> Callable[[dict[str, Any]], None]:
    def fail(_: dict[str, Any]) -> None:
        raise error

    return fail


# Owed and delivered


def test_what_a_unit_owes_is_delivered_when_it_commits(probed: Flask, probe: Probe) -> None:
    [owed_id] = owe(probed, text="words")
    assert deliver_all(probed) == 1
    assert probe.delivered == [(owed_id, {"number": 0, "text": "words"})]


def test_what_was_delivered_is_owed_no_more(probed: Flask) -> None:
    owe(probed, 3)
    deliver_all(probed)
    assert rows(probed) == []


@pytest.mark.parametrize("error", [NotFound, ValueError])
def test_what_a_unit_owes_that_is_undone_is_not_owed(
    probed: Flask, probe: Probe, error: type[Exception]
) -> None:
    with probed.app_context(), pytest.raises(error), work.writing():
        outbox.owe("probe", {})
        raise error()
    assert deliver_all(probed) == 0
    assert probe.delivered == []


def test_nothing_is_delivered_before_the_commit(probed: Flask, probe: Probe) -> None:
    with probed.app_context(), work.writing():
        outbox.owe("probe", {"number": 1})
        assert in_parallel(1, lambda _: _look(probed)) == [False]
        db.session.flush()
        assert in_parallel(1, lambda _: _look(probed)) == [False]
    assert deliver_all(probed) == 1


def _look(app: Flask) -> bool:
    courier: Courier = app.extensions["tessera.courier"]
    return courier.deliver_next()


def test_a_running_courier_is_woken_by_the_commit(
    probed: Flask, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "POLL_SECONDS", 10 * DEADLINE)
    with running(probed) as courier:
        courier.wait_for_rests(1)
        owe(probed)
        wait_until(lambda: probe.delivered, "the courier delivers")


def test_what_another_process_owes_is_found_by_looking(
    probed: Flask, probe: Probe, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "POLL_SECONDS", 0.01)
    with running(probed) as courier:
        courier.wait_for_rests(1)
        owe(Probe().join(make_app()))  # wakes a courier that does not run
        wait_until(lambda: probe.delivered, "the courier delivers")


def test_a_kind_that_nobody_delivers_is_refused(probed: Flask) -> None:
    with probed.app_context(), pytest.raises(LookupError, match="no feature delivers 'letters'"):
        outbox.owe("letters", {})


def test_what_a_feature_owes_waits_while_it_is_off(probed: Flask, probe: Probe, make_app: MakeApp) -> None:
    owe(probed)
    without = make_app()
    assert deliver_all(without) == 0
    assert [(owed.tries, owed.failed_at) for owed in rows(without)] == [(0, None)]
    assert deliver_all(probed) == 1


def test_a_service_without_deliveries_has_nothing_to_deliver(probed: Flask, make_app: MakeApp) -> None:
    owe(probed)
    assert deliver_all(make_app(FEATURES="health")) == 0


# Once


def test_of_several_couriers_each_thing_is_delivered_by_one(make_app: MakeApp, probe: Probe) -> None:
    apps = [probe.join(make_app()) for _ in range(4)]
    ids = owe(apps[0], 40)
    in_parallel(4, lambda number: deliver_all(apps[number]))
    assert Counter(owed_id for owed_id, _ in probe.delivered) == Counter(ids)


@pytest.mark.long
def test_of_several_workers_each_letter_is_sent_by_one(
    app: Flask, environ: dict[str, str], tmp_path: Path
) -> None:
    with ledger(tmp_path) as sink, workers(environ | {"TESSERA_MAIL_URL": sink.url}) as nursery:
        ids = post(app, 300)
        for _ in range(3):
            nursery.start()
        sink.wait_for(300)
        wait_until(lambda: rows(app) == [], "nothing is owed")
    assert Counter(message_id for message_id, _ in sink.entries()) == Counter(ids)


def post(app: Flask, count: int) -> list[str]:
    """Owe letters to as many people, and return the ids of their messages."""
    values = {"name": None, "service": "https://id.example.com", "at": "now"}
    with app.app_context(), work.writing():
        ids = [
            mail.post("password_changed", f"user-{number}@example.com", None, values)
            for number in range(count)
        ]
    return [f"<{letter_id}@id.example.com>" for letter_id in ids]


# Again


def test_what_fails_is_tried_again_later_with_the_same_id(probed: Flask, probe: Probe) -> None:
    [owed_id] = owe(probed)
    probe.fail = refuse(OSError("the line is dead"))
    assert deliver_all(probed) == 1
    probe.fail = lambda _: None
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=10)):
        assert deliver_all(probed) == 1
    assert [found for found, _ in probe.delivered] == [owed_id]


def test_what_fails_is_not_tried_again_at_once(probed: Flask, probe: Probe) -> None:
    owe(probed)
    probe.fail = refuse(OSError("the line is dead"))
    assert [deliver_all(probed) for _ in range(3)] == [1, 0, 0]


def test_the_wait_grows_with_each_try_up_to_an_hour(probed: Flask, probe: Probe) -> None:
    probe.fail = refuse(OSError("the line is dead"))
    waits = list(_waits(probed))
    expected = [min(5.0 * 2**number, 3600.0) for number in range(outbox.TRIES - 1)]
    assert len(waits) == len(expected)
    for wait, mean in zip(waits, expected, strict=True):
        assert 0.75 * mean <= wait <= 1.25 * mean


def _waits(app: Flask) -> Iterator[float]:
    """Try a thing until it has failed for good, and yield the seconds between the tries."""
    with time_machine.travel(NOON, tick=False) as clock:
        owe(app)
        while deliver_all(app) == 1 and row(app).failed_at is None:
            due = row(app).due_at
            yield (due - datetime.now(UTC)).total_seconds()
            clock.move_to(due)


def test_tries_are_counted(probed: Flask, probe: Probe) -> None:
    probe.fail = refuse(OSError("the line is dead"))
    with time_machine.travel(NOON, tick=False) as clock:
        owe(probed)
        for number in range(1, 4):
            deliver_all(probed)
            assert row(probed).tries == number
            clock.move_to(row(probed).due_at)


def test_after_the_last_try_it_has_failed(probed: Flask, probe: Probe) -> None:
    probe.fail = refuse(OSError("the line is dead"))
    assert len(list(_waits(probed))) == outbox.TRIES - 1
    found = row(probed)
    assert (found.tries, found.error) == (outbox.TRIES, "OSError: the line is dead")
    with time_machine.travel(NOON + timedelta(days=3650)):
        assert deliver_all(probed) == 0


def test_what_can_never_arrive_fails_at_once(probed: Flask, probe: Probe) -> None:
    owe(probed)
    probe.fail = refuse(Undeliverable("nobody has this address"))
    deliver_all(probed)
    assert (row(probed).tries, row(probed).failed_at is not None) == (1, True)


def test_an_error_that_no_database_can_keep_is_noted_nevertheless(probed: Flask, probe: Probe) -> None:
    owe(probed)
    probe.fail = refuse(OSError(f"nul \x00, half a character \ud83d, {'x' * 1000}"))
    deliver_all(probed)
    assert str(row(probed).error).startswith("OSError: nul ")


def test_an_error_of_one_delivery_does_not_stop_others(probed: Flask, probe: Probe) -> None:
    def fail(content: dict[str, Any]) -> None:
        if content["number"] == 1:
            raise RuntimeError("no")

    probe.fail = fail
    owe(probed, 3)
    assert deliver_all(probed) == 3
    assert sorted(probe.numbers) == [0, 2]


# Tasks, which work on the database alone


def test_a_task_may_owe_something_itself(probed: Flask, probe: Probe) -> None:
    probe.work = lambda _: [outbox.owe("probe", {"number": 1})]
    owe(probed, kind="task")
    assert deliver_all(probed) == 2
    assert probe.numbers == [1]


def test_what_a_task_writes_before_it_fails_is_undone(probed: Flask, probe: Probe) -> None:
    def fail(_: dict[str, Any]) -> None:
        outbox.owe("probe", {"number": 1})
        raise RuntimeError("no")

    probe.work = fail
    owe(probed, kind="task")
    deliver_all(probed)
    assert [(owed.kind, owed.error) for owed in rows(probed)] == [("task", "RuntimeError: no")]


def test_a_task_that_two_have_claimed_is_done_once(probed: Flask, probe: Probe) -> None:
    """The second one has come after the lease of the first, who is slow."""

    done: list[dict[str, Any]] = []
    probe.work = done.append
    owe(probed, kind="task")
    courier: Courier = probed.extensions["tessera.courier"]
    with probed.app_context():
        slow = courier._claim()
        with work.apart() as connection:
            connection.execute(sa.update(Owed).values(due_at=NOON))
        assert courier.deliver_next()
        assert slow is not None
        courier._attempt(slow, {"number": 0})
    assert done == [{"number": 0}]


def test_what_no_secret_opens_any_more_fails_and_stops_nobody(
    probed: Flask, probe: Probe, make_app: MakeApp
) -> None:
    owe(probed)
    rotated = probe.join(make_app(SECRET_KEY="5d1e8c3b7a9f2046d8e1c5b3a7f9024e6d8c1b3a"))
    owe(rotated)
    assert deliver_all(rotated) == 2
    assert len(probe.delivered) == 1
    assert row(rotated).error == "ValueError: was not sealed by any of our secrets"


# The lease


def test_what_is_claimed_is_nobody_elses_while_the_lease_lasts(probed: Flask, probe: Probe) -> None:
    looked: list[bool] = []
    probe.fail = lambda _: looked.append(in_parallel(1, lambda _: _look(probed))[0])
    owe(probed)
    deliver_all(probed)
    assert looked == [False]


def test_what_was_claimed_by_one_who_died_is_tried_again_after_the_lease(probed: Flask, probe: Probe) -> None:
    [owed_id] = owe(probed)
    with probed.app_context():
        assert probed.extensions["tessera.courier"]._claim() is not None  # and then it dies
    claimed_at = datetime.now(UTC)
    with time_machine.travel(claimed_at + timedelta(seconds=outbox.LEASE_SECONDS - 10)):
        assert deliver_all(probed) == 0
    with time_machine.travel(claimed_at + timedelta(seconds=outbox.LEASE_SECONDS)):
        assert deliver_all(probed) == 1
    assert [found for found, _ in probe.delivered] == [owed_id]


def test_whoever_is_overtaken_notes_no_failure_of_theirs(probed: Flask, probe: Probe) -> None:
    """Another one has claimed it since: their try is the one that counts."""

    def be_overtaken(_: dict[str, Any]) -> None:
        with work.apart() as connection:
            connection.execute(sa.update(Owed).values(tries=Owed.tries + 1))
        raise Undeliverable("too late")

    probe.fail = be_overtaken
    owe(probed)
    deliver_all(probed)
    assert (row(probed).failed_at, row(probed).error) == (None, None)


# At rest


def test_what_is_owed_is_sealed(probed: Flask) -> None:
    owe(probed, secret=CANARY)
    assert CANARY not in row(probed).content


def test_no_file_of_the_database_shows_what_is_owed(probed: Flask, database: str) -> None:
    owe(probed, 20, secret=CANARY)
    if database.startswith("sqlite"):
        path = Path(database.removeprefix("sqlite:///"))
        held = [read_apart(file) for file in path.parent.glob(f"{path.name}*")]
        assert len(held) > 1, "there is a log beside the file"
        assert not [content for content in held if CANARY.encode() in content]
    else:
        with probed.app_context(), db.engine.connect() as connection:
            dumped = connection.execute(sa.text("SELECT CAST(outbox AS text) FROM outbox")).scalars().all()
        assert len(dumped) == 20
        assert CANARY not in "".join(dumped)


# Operators


@pytest.fixture
def failed(app: Flask) -> list[str]:
    """Two letters that failed for good."""
    with app.app_context(), work.writing():
        ids = [mail.post("password_changed", "nowhere", None, {}) for _ in range(2)]
    broken = sa.update(Owed).values(tries=1, failed_at=NOON, error="Undeliverable: the address is none")
    with app.app_context(), work.apart() as connection:
        connection.execute(broken)
    return [str(owed_id) for owed_id in ids]


def test_the_list_shows_what_failed_and_why(app: Flask, failed: list[str]) -> None:
    ended = tessera_of(app, "outbox", "list")
    assert ended.code == 0
    lines = ended.output.splitlines()
    assert sorted(lines[::2]) == sorted(f"{owed_id}  mail  failed after 1 tries" for owed_id in failed)
    assert lines[1::2] == ["    Undeliverable: the address is none"] * 2


def test_the_list_shows_what_waits(app: Flask) -> None:
    post(app, 1)
    assert re.fullmatch(
        r"[0-9a-f-]{36}  mail  due in 0 s, 0 of 15 tries made\n",
        tessera_of(app, "outbox", "list").output,
    )


def test_the_list_shows_what_failed_first(app: Flask, failed: list[str]) -> None:
    post(app, 3)
    ended = tessera_of(app, "outbox", "list", "--limit", "2")
    assert {line.split()[0] for line in ended.output.splitlines()[::2]} == set(failed)


def test_the_list_says_that_nothing_is_owed(app: Flask) -> None:
    assert tessera_of(app, "outbox", "list").output == "Nothing is owed.\n"


def test_one_thing_that_failed_is_tried_again_by_its_id(
    app: Flask, failed: list[str], environ: dict[str, str]
) -> None:
    assert tessera_of(app, "outbox", "retry", failed[0]).output == "1 to be tried again.\n"
    assert [str(owed.id) for owed in rows(app) if owed.failed_at is None] == [failed[0]]
    assert deliver_all(app) == 1


def test_all_that_failed_is_tried_again(app: Flask, failed: list[str]) -> None:
    assert tessera_of(app, "outbox", "retry").output == "2 to be tried again.\n"
    assert [(owed.tries, owed.failed_at) for owed in rows(app)] == [(0, None)] * 2


def test_what_did_not_fail_is_not_tried_again(app: Flask) -> None:
    post(app, 1)
    ended = tessera_of(app, "outbox", "retry", str(row(app).id))
    assert (ended.code, ended.errors) == (
        1,
        "Error: Nothing of this id failed. See: tessera outbox list\n",
    )


def test_what_is_no_id_is_a_mistake_of_use(app: Flask) -> None:
    assert tessera_of(app, "outbox", "retry", "1").code == 2


# The courier and its process


class _Bell(SimpleQueue[None]):
    """What a courier waits for while it rests; counts how often it does."""

    def __init__(self) -> None:
        self.rests = 0

    def get(self, block: bool = True, timeout: float | None = None) -> None:
        self.rests += 1
        return super().get(block, timeout)


@dataclass
class Running:
    """A courier that runs in a thread."""

    bell: _Bell

    def wait_for_rests(self, count: int) -> None:
        """Wait until it has looked so many times in vain, and rests."""
        wait_until(lambda: self.bell.rests >= count, f"the courier rests for the {count}. time")


@contextmanager
def running(app: Flask) -> Iterator[Running]:
    """Let an app's courier run in a thread; it must run until it is told to stop."""
    courier: Courier = app.extensions["tessera.courier"]
    bell = courier._rung = _Bell()
    thread = threading.Thread(target=courier.run)
    thread.start()
    try:
        yield Running(bell)
        assert thread.is_alive()
    finally:
        courier.stop()
        thread.join(DEADLINE)
        assert not thread.is_alive()


def test_a_courier_may_be_told_something_in_the_midst_of_anything() -> None:
    """A signal handler runs between any two steps: it must not wait for a lock that those hold."""
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=ROOT, check=False)
    assert ended.returncode == 0


INTERRUPTED = """
import faulthandler, signal
from flask import Flask
from api.kit.outbox import Courier
faulthandler.dump_traceback_later(60, exit=True)  # it hangs
courier, rung = Courier(Flask("empty"), []), 0
def interrupt(*_):
    global rung
    rung += 1
    courier.wake()
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.05)  # again, for CPython may miss one (eval_breaker)
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.05)
while rung < 1000:
    courier.wake()
signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_a_database_that_is_away_does_not_end_the_courier(
    make_offline: MakeOffline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "POLL_SECONDS", 0.01)
    with running(make_offline()) as courier:
        courier.wait_for_rests(3)


def test_it_delivers_again_once_the_database_is_back(
    probed: Flask, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "POLL_SECONDS", 0.01)
    _rename(probed, "outbox", "outbox_away")
    try:
        with running(probed) as courier:
            courier.wait_for_rests(2)
            assert probed.extensions["tessera.courier"]._is_away
            _rename(probed, "outbox_away", "outbox")
            owe(probed)
            wait_until(lambda: probe.delivered, "the courier delivers")
    finally:
        if not probe.delivered:
            _rename(probed, "outbox_away", "outbox")


def _rename(app: Flask, name: str, new_name: str) -> None:
    with app.app_context(), work.apart() as connection:
        connection.execute(sa.text(f"ALTER TABLE {name} RENAME TO {new_name}"))


@pytest.fixture
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """The gate at which each letter waits before the mail server accepts it."""
    with gate(tmp_path_factory.mktemp("gate")) as found:
        yield found


@pytest.fixture
def slow(tmp_path: Path, held: Gate) -> Iterator[Ledger]:
    """A mail server that takes a letter only when the test lets it."""
    with ledger(tmp_path, gate=held) as sink:
        yield sink


@contextmanager
def _worker(environ: dict[str, str], *command: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `tessera worker`, or a command that does, with these variables and no others."""
    process = subprocess.Popen(
        command or [sys.executable, "-m", "api", "worker"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_stop_ends_with_the_delivery_at_hand_done(
    app: Flask, environ: dict[str, str], slow: Ledger, held: Gate, number: int
) -> None:
    post(app, 3)
    with _worker(environ | {"TESSERA_MAIL_URL": slow.url}) as process:
        held.wait_for(1)
        process.send_signal(number)
        held.let_go(3)
        assert process.wait(DEADLINE) == 0
    assert len(slow.entries()) == 1
    assert [owed.tries for owed in rows(app)] == [0] * 2


@ON_SQLITE
def test_a_worker_that_is_told_to_stop_again_while_it_exits_leaves_the_exit_code_0(
    app: Flask, environ: dict[str, str]
) -> None:
    program = f"{STOPPED_AGAIN}\nfrom api.cli import main\nmain(['worker'])"
    with _worker(environ, sys.executable, "-c", program) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"Delivering: ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0


@pytest.mark.long
def test_a_server_that_is_told_to_stop_ends_with_the_delivery_at_hand_done(
    app: Flask, environ: dict[str, str], slow: Ledger, held: Gate, tmp_path: Path
) -> None:
    """It stops to listen before it tells its worker to stop, which may begin some more until then."""
    count = 200
    with serving(environ | {"TESSERA_MAIL_URL": slow.url}, tmp_path / "server.log") as server:
        post(app, count)
        held.wait_for(1)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not server.listens(), "the server stops")
        held.let_go(count)
        assert server.process.wait(DEADLINE) == 0
    sent = len(slow.entries())
    assert 1 <= sent < count
    assert [owed.tries for owed in rows(app)] == [0] * (count - sent)


def test_a_server_delivers_by_itself(
    app: Flask, environ: dict[str, str], mailbox: Mailbox, tmp_path: Path
) -> None:
    with serving(environ, tmp_path / "server.log") as server:
        assert server.call("POST", "/v1/users", new_details(email="mina@example.com")).status == 201
        wait_until(lambda: rows(app) == [], "nothing is owed")
    assert [letter.to for letter in mailbox.new()] == ["mina@example.com"]


@ON_SQLITE
@pytest.mark.parametrize(("worker", "threads"), [("inside", ["courier"]), ("apart", [])])
def test_a_server_process_runs_a_courier_unless_workers_do(
    environ: dict[str, str], worker: str, threads: list[str]
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", COURIERS],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ, "TESSERA_WORKER": worker},
        capture_output=True,
        check=True,
    )
    assert json.loads(ended.stdout) == threads


COURIERS = """
import json, threading
from api.server import make_wsgi_app
make_wsgi_app()
print(json.dumps([thread.name for thread in threading.enumerate() if thread.name == "courier"]))
"""


@pytest.mark.long
def test_apart_a_server_leaves_a_letter_to_a_worker(
    app: Flask, environ: dict[str, str], server: Server, mailbox: Mailbox
) -> None:
    assert server.call("POST", "/v1/users", new_details(email="mina@example.com")).status == 201
    assert [owed.tries for owed in rows(app)] == [0]
    with _worker(environ):
        wait_until(lambda: rows(app) == [], "nothing is owed")
    assert [letter.to for letter in mailbox.new()] == ["mina@example.com"]


@ON_SQLITE
def test_a_worker_says_what_it_delivers(app: Flask, environ: dict[str, str]) -> None:
    with _worker(environ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == (
            b"Delivering: email_verification, mail, password_reset, sign_up, user_import_batch.\n"
        )


@ON_SQLITE
def test_a_worker_ends_with_words_when_its_settings_are_unfit(environ: dict[str, str]) -> None:
    ended = tessera("worker", environ=environ | {"TESSERA_MAIL_URL": "nonsense"})
    assert (ended.code, "Traceback" in ended.all) == (1, False)
    assert "TESSERA_MAIL_URL" in ended.errors


# Chores


def test_a_running_courier_does_chores_as_the_service_and_survives_those_that_fail(make_app: MakeApp) -> None:
    app = make_app()
    done: list[Actor] = []
    enough = threading.Event()

    def fail() -> bool:
        raise RuntimeError("a chore that fails")

    def note() -> bool:
        done.append(current_actor())
        if len(done) == 2:
            enough.set()
        return len(done) < 2

    chores = (Chore("fail", 1, lambda: True, fail), Chore("note", 1, lambda: True, note))
    courier = Courier(app, [Feature(name="tidy", summary="Has chores.", chores=chores)])
    thread = threading.Thread(target=courier.run)
    thread.start()
    try:
        assert enough.wait(DEADLINE)
    finally:
        courier.stop()
        thread.join(DEADLINE)
    assert set(done) == {Actor("service")}
