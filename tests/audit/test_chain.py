"""Nobody changes the trail; and whoever can, because the database is theirs, is found out."""

import os
import random
import signal
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from flask import Flask

from api.audit import chain
from api.audit.models import AuditEvent, AuditSeal, AuditUnsealed
from api.kit import work
from api.kit.db import Base, db
from api.kit.ids import new_id
from tests.audit.trail import entries, row, seal, tamper, verify
from tests.conftest import SECRET, MakeApp
from tests.support.clients import Person, new_person
from tests.support.commands import tessera_of
from tests.support.waiting import wait_until
from tests.support.watching import in_parallel
from tests.support.workers import workers

OTHER_SECRET = "1b8d3f605a7c9e1d2b4f6a8c0e3d5b7f9f2c4e7a"


@pytest.fixture
def trail(app: Flask) -> list[AuditEvent]:
    """Entries with their seals."""
    for _ in range(3):
        new_person(app)
    seal(app)
    return entries(app)


def seals(app: Flask) -> list[AuditSeal]:
    with app.app_context(), work.reading():
        return list(db.session.scalars(sa.select(AuditSeal).order_by(AuditSeal.number)))


# Append-only

AROUND = {"sqlite": "INSERT OR REPLACE INTO {0} SELECT * FROM {0}", "postgresql": "TRUNCATE {0} CASCADE"}


@pytest.mark.parametrize("model", [AuditEvent, AuditSeal])
@pytest.mark.parametrize("words", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "around"])
def test_triggers_refuse(app: Flask, trail: list[AuditEvent], model: type[Base], words: str) -> None:
    column = "ip" if model is AuditEvent else "hash"
    with app.app_context():
        if words == "around":  # the triggers of UPDATE and DELETE
            words = AROUND[db.engine.dialect.name]
        statement = sa.text(words.format(model.__tablename__, column))
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), db.engine.begin() as connection:
            connection.execute(statement)


# Sealing


def test_what_is_sealed_verifies(app: Flask, trail: list[AuditEvent]) -> None:
    last, waiting = verify(app)
    assert (last.number, waiting) == (len(trail), 0)


def test_an_empty_trail_verifies(app: Flask) -> None:
    assert verify(app) == (chain.Head(0, chain.BEGINNING), 0)


def test_what_waits_verifies(app: Flask, trail: list[AuditEvent]) -> None:
    new_person(app)
    last, waiting = verify(app)
    assert (last.number, waiting) == (len(trail), 2)


def test_there_are_batches(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_WAITING", "_SEALED", "_ENTRIES"):
        monkeypatch.setattr(chain, name, getattr(chain, name).limit(4))
    monkeypatch.setattr(chain, "BATCH", 4)
    for _ in range(5):
        new_person(app)
    seal(app)
    assert verify(app)[0].number == 10


def test_many_who_seal_at_once_make_one_chain(app: Flask) -> None:
    def write_and_seal(_: int) -> None:
        for _ in range(3):
            new_person(app)
            seal(app)

    in_parallel(4, write_and_seal)
    seal(app)
    assert verify(app) == (verify(app)[0], 0)
    assert [one.number for one in seals(app)] == list(range(1, len(entries(app)) + 1))


@pytest.mark.long
def test_workers_that_are_killed_leave_one_chain(app: Flask, environ: dict[str, str]) -> None:
    """Each is killed after a random number of sign-ups, while it chains what they wrote."""
    people = 0
    with workers(environ) as nursery:
        for _ in range(4):
            pid = nursery.start()
            people += _sign_up_until(app, chained=len(seals(app)) + random.randint(1, 20))
            os.kill(pid, signal.SIGKILL)
        nursery.start()
        wait_until(lambda: verify(app)[1] == 0, "a worker chains what is pending")
    assert verify(app)[0].number == len(entries(app))
    assert len(entries(app)) - len(entries(app, "signing_key_made")) == 2 * people


def _sign_up_until(app: Flask, chained: int) -> int:
    """Sign people up until so many entries are chained, and return how many signed up."""
    people: list[Person] = []

    def are_chained() -> bool:
        people.append(new_person(app))
        return len(seals(app)) >= chained

    wait_until(are_chained, f"a worker has chained {chained} entries")
    return len(people)


def test_what_was_queued_again_or_is_no_entry_is_not_sealed(app: Flask, trail: list[AuditEvent]) -> None:
    tamper(app, sa.insert(AuditUnsealed).values([{"event_id": trail[0].id}, {"event_id": uuid4()}]))
    new_person(app)
    seal(app)
    assert verify(app)[0].number == len(trail) + 2


# Tampering

Tamper = Callable[[list[AuditEvent]], list[sa.Executable]]


def _of(entry: AuditEvent) -> sa.ColumnElement[bool]:
    return AuditEvent.id == entry.id


def _swapped(trail: list[AuditEvent]) -> list[sa.Executable]:
    """Give two entries each other's content."""
    one, two = trail[1], trail[2]
    return [
        sa.update(AuditEvent).where(_of(a)).values(row(b) | {"id": a.id}) for a, b in ((one, two), (two, one))
    ]


def _swapped_seals(trail: list[AuditEvent]) -> list[sa.Executable]:
    numbered = sa.update(AuditSeal)
    return [
        numbered.where(AuditSeal.number == 2).values(number=0),
        numbered.where(AuditSeal.number == 3).values(number=2),
        numbered.where(AuditSeal.number == 0).values(number=3),
    ]


def _inserted(trail: list[AuditEvent]) -> list[sa.Executable]:
    return [sa.insert(AuditEvent).values(row(trail[0]) | {"id": new_id()})]


def _cut(trail: list[AuditEvent]) -> list[sa.Executable]:
    return [sa.delete(AuditSeal).where(AuditSeal.number > 3)]


def _renumbered(trail: list[AuditEvent]) -> list[sa.Executable]:
    """Remove an entry with its seal, and close the gap."""
    return [
        sa.delete(AuditEvent).where(_of(trail[1])),
        sa.delete(AuditSeal).where(AuditSeal.event_id == trail[1].id),
        *(sa.update(AuditSeal).where(AuditSeal.number == n).values(number=n - 1) for n in range(3, 7)),
    ]


def _edited(**values: Any) -> Tamper:
    return lambda trail: [sa.update(AuditEvent).where(_of(trail[2])).values(values)]


def _removed(trail: list[AuditEvent]) -> list[sa.Executable]:
    return [sa.delete(AuditEvent).where(_of(trail[2]))]


_THIRD_SEAL = AuditSeal.number == 3
TAMPERS: dict[str, tuple[Tamper, str]] = {
    "edited_ip": (_edited(ip="192.0.2.9"), "not written so"),
    "edited_details": (_edited(details={"a": 1}), "not written so"),
    "edited_subject": (_edited(subject_id=UUID(int=7)), "not written so"),
    "edited_mac": (_edited(mac=b"x" * 32), "not written so"),
    "removed": (_removed, "of seal 3, .* was removed"),
    "removed_seal": (lambda _: [sa.delete(AuditSeal).where(_THIRD_SEAL)], "Seal 3 was removed"),
    "removed_with_its_seal": (_renumbered, "Seal 2, .* is not the one"),
    "removed_seals_at_the_end": (_cut, "has no seal and waits for none"),
    "edited_seal": (lambda _: [sa.update(AuditSeal).where(_THIRD_SEAL).values(hash=b"x" * 32)], "Seal 3"),
    "swapped": (_swapped, "not written so"),
    "swapped_seals": (_swapped_seals, "Seal 2, .* is not the one"),
    "inserted": (_inserted, "has no seal and waits for none"),
}


@pytest.mark.parametrize("name", TAMPERS)
def test_verifying_finds(app: Flask, trail: list[AuditEvent], name: str) -> None:
    change, message = TAMPERS[name]
    tamper(app, *change(trail))
    with pytest.raises(chain.Broken, match=message):
        verify(app)


def test_verifying_finds_what_was_inserted_by_the_front_door(app: Flask, trail: list[AuditEvent]) -> None:
    """Whoever has the database but no secret adds a row, and the service seals it."""
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(sa.insert(AuditEvent).values(row(trail[0]) | {"id": new_id()}))
    with pytest.raises(chain.Broken, match="not written so"):
        verify(app)
    seal(app)
    with pytest.raises(chain.Broken, match="not written so"):
        verify(app)


def test_verifying_finds_a_waiting_entry_that_was_edited(app: Flask) -> None:
    new_person(app)
    tamper(app, sa.update(AuditEvent).values(ip="192.0.2.9"))
    with pytest.raises(chain.Broken, match="not written so"):
        verify(app)


def _cut_whole(app: Flask, above: int) -> None:
    """Remove the end of the trail with its seals: what is left is whole by itself."""
    ends = [one.event_id for one in seals(app) if one.number > above]
    tamper(
        app,
        sa.delete(AuditSeal).where(AuditSeal.number > above),
        sa.delete(AuditEvent).where(AuditEvent.id.in_(ends)),
    )


def test_a_head_that_was_kept_shows_that_the_end_is_gone(app: Flask, trail: list[AuditEvent]) -> None:
    kept, _ = verify(app)
    _cut_whole(app, above=3)
    assert verify(app)[0].number == 3
    with pytest.raises(chain.Broken, match="ends at seal 3"):
        verify(app, kept)


def test_a_head_that_was_kept_shows_that_the_end_was_written_anew(
    app: Flask, trail: list[AuditEvent]
) -> None:
    kept, _ = verify(app)
    _cut_whole(app, above=3)
    for _ in range(3):
        new_person(app)
    seal(app)
    verify(app)
    with pytest.raises(chain.Broken, match=f"Seal {kept.number} is not the one that was kept"):
        verify(app, kept)


def test_a_head_that_was_kept_is_found_in_a_longer_chain(app: Flask, trail: list[AuditEvent]) -> None:
    kept, _ = verify(app)
    new_person(app)
    seal(app)
    assert verify(app, kept)[0].number == len(trail) + 2


# Secrets


def test_a_chain_goes_on_under_a_new_secret(make_app: MakeApp, trail: list[AuditEvent]) -> None:
    app = make_app(SECRET_KEY=f"{OTHER_SECRET},{SECRET}")
    new_person(app)
    seal(app)
    assert verify(app)[0].number == len(trail) + 2


def test_without_the_secret_nothing_is_right(make_app: MakeApp, trail: list[AuditEvent]) -> None:
    with pytest.raises(chain.Broken, match="TESSERA_SECRET_KEY names no more"):
        verify(make_app(SECRET_KEY=OTHER_SECRET))


# The command


def test_the_command_says_that_nothing_was_changed(app: Flask, trail: list[AuditEvent]) -> None:
    ended = tessera_of(app, "audit", "verify")
    assert ended.code == 0, ended.all
    head = ended.output.splitlines()[-1]
    assert head == str(verify(app)[0])
    assert tessera_of(app, "audit", "verify", "--head", head).code == 0


def test_the_command_fails_for_a_trail_that_was_changed(app: Flask, trail: list[AuditEvent]) -> None:
    tamper(app, *TAMPERS["edited_ip"][0](trail))
    ended = tessera_of(app, "audit", "verify")
    assert ended.code == 1
    assert str(trail[2].id) in ended.errors
    assert "Traceback" not in ended.all


@pytest.mark.parametrize("head", ["", "x", "0:00", f"0:{'0' * 64}", f"1:{'0' * 63}"])
def test_the_command_refuses_what_is_no_head(app: Flask, head: str) -> None:
    assert tessera_of(app, "audit", "verify", "--head", head).code == 2
