"""Macs and seals: what shows that an entry of the audit trail was changed, removed or smuggled in.

Each entry carries a mac of its content. Once it is committed a worker seals it: the seal's hash covers its
number, the mac, and the hash before. Both need a key that is derived from the service's secret.
"""

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa

from api.audit.models import AuditEvent, AuditSeal, AuditUnsealed
from api.kit import work
from api.kit.db import db
from api.kit.service import service

BATCH = 1000  # entries that are sealed in one transaction, or read at once
BEGINNING = b"\0" * 32  # what stands before the first seal
_OR_OTHERWISE = "Or it was written under a secret that TESSERA_SECRET_KEY names no more."
_CONTENT = tuple(column.key for column in AuditEvent.__table__.columns if column.key != "mac")
_IS_WAITING = sa.select(sa.literal(1)).select_from(AuditUnsealed).limit(1)
_MAC: list[Any] = [AuditEvent.id, AuditEvent.mac]
_WAITING = (
    sa.select(*_MAC)
    .join(AuditUnsealed, AuditUnsealed.event_id == AuditEvent.id)
    .where(~sa.exists().where(AuditSeal.event_id == AuditEvent.id))  # whoever says so, never twice
    .order_by(AuditEvent.id)
    .limit(BATCH)
)
_LINK: list[Any] = [AuditSeal.number, AuditSeal.hash]
_HEAD = sa.select(*_LINK).order_by(AuditSeal.number.desc()).limit(1)
_SEALED = sa.select(*_LINK, AuditSeal.event_id).order_by(AuditSeal.number).limit(BATCH)
_OF_ENTRY = AuditSeal.event_id == AuditEvent.id
_WAITS = AuditUnsealed.event_id == AuditEvent.id
# Neither joins nor EXISTS: a planner might read whole tables for each batch.
_STATE: list[Any] = [
    AuditEvent.id,
    sa.select(AuditSeal.number).where(_OF_ENTRY).scalar_subquery().label("number"),
    sa.select(AuditUnsealed.event_id).where(_WAITS).scalar_subquery().label("waiting"),
]
_ENTRIES = sa.select(*_STATE).order_by(AuditEvent.id).limit(BATCH)


class Broken(Exception):
    """The trail is not as it was written; the message says where."""


@dataclass(frozen=True)
class Head:
    """The last seal of a chain; before the first, number 0."""

    number: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.number}:{self.hash.hex()}"


def mac_of(entry: Mapping[str, Any] | sa.RowMapping, key: bytes | None = None) -> bytes:
    """Return the mac of an entry's content, by default under the key of today."""
    content = [_plain(entry[name]) for name in _CONTENT]
    written = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return hmac.digest(key or _keys()[0], b"entry\0" + written, "sha256")


def is_waiting() -> bool:
    """Tell whether something that was committed waits for its seal."""
    return work.read_one(_IS_WAITING, {}) is not None


def seal_batch() -> bool:
    """Seal some of what waits, in turn with others who do, and tell whether there may be more."""
    work.in_turn("audit_seals")
    waiting = db.session.execute(_WAITING).all()
    if waiting:
        _seal(waiting)
    return len(waiting) == BATCH


def _seal(waiting: Sequence[sa.Row[Any]]) -> None:
    last = db.session.execute(_HEAD).one_or_none()
    number, before = (0, BEGINNING) if last is None else (last.number, last.hash)
    seals: list[dict[str, Any]] = []
    for row in waiting:
        number += 1
        before = _hash(_keys()[0], number, before, row.mac)
        seals.append({"number": number, "event_id": row.id, "hash": before})
    db.session.execute(sa.insert(AuditSeal), seals)
    sealed = [seal["event_id"] for seal in seals]
    db.session.execute(sa.delete(AuditUnsealed).where(AuditUnsealed.event_id.in_(sealed)))


def length() -> int:
    """Return how many entries are sealed."""
    last = work.read_one(_HEAD, {})
    return 0 if last is None else int(last.number)


def verify(kept: Head | None, tell: Callable[[int], None]) -> tuple[Head, int]:
    """Check every seal and every entry; return the last seal, and how many entries still wait for one.

    `kept` is a seal that must be in the chain. Reads in batches, whatever the size, and tells after each
    how many rows it had: first of seals, then of entries. Raises Broken at the first that is not right.
    """
    keys = _keys()
    last = Head(0, BEGINNING)
    while rows := work.read_all(_SEALED.where(AuditSeal.number > last.number)):
        entries = {entry.id: entry for entry in _entries([row.event_id for row in rows])}
        for row in rows:
            last = _next(last, row, entries.get(row.event_id), keys)
            if kept is not None and kept.number == last.number and kept != last:
                raise Broken(f"Seal {kept.number} is not the one that was kept.")
        tell(len(rows))
    if kept is not None and kept.number > last.number:
        raise Broken(f"The chain ends at seal {last.number}, before the one that was kept: {kept.number}.")
    return last, _verify_entries(keys, tell)


def _next(before: Head, seal: sa.Row[Any], entry: sa.Row[Any] | None, keys: Sequence[bytes]) -> Head:
    """Return the seal of an entry as the one that follows another; raises Broken."""
    number = before.number + 1
    if seal.number != number:
        raise Broken(f"Seal {number} was removed.")
    if entry is None:
        raise Broken(f"The entry of seal {number}, {seal.event_id}, was removed.")
    _verify_mac(entry, keys)
    if not any(hmac.compare_digest(seal.hash, _hash(key, number, before.hash, entry.mac)) for key in keys):
        raise Broken(f"Seal {number}, of the entry {entry.id}, is not the one that was set. {_OR_OTHERWISE}")
    return Head(number, seal.hash)


def _verify_entries(keys: Sequence[bytes], tell: Callable[[int], None]) -> int:
    waiting = 0
    last = UUID(int=0)
    while rows := work.read_all(_ENTRIES.where(AuditEvent.id > last)):
        unsealed = [row for row in rows if row.number is None]
        for row in unsealed:
            if row.waiting is None:
                raise Broken(f"The entry {row.id} has no seal and waits for none: it was removed.")
        for entry in _entries([row.id for row in unsealed]):
            _verify_mac(entry, keys)
        waiting += len(unsealed)
        last = rows[-1].id
        tell(len(rows))
    return waiting


def _entries(ids: Sequence[UUID]) -> Sequence[sa.Row[Any]]:
    """Return the entries of these ids, as far as there are any."""
    return work.read_all(sa.select(*AuditEvent.__table__.columns).where(AuditEvent.id.in_(ids)))


def _verify_mac(entry: sa.Row[Any], keys: Sequence[bytes]) -> None:
    if not any(hmac.compare_digest(entry.mac, mac_of(entry._mapping, key)) for key in keys):
        raise Broken(f"The entry {entry.id}, of {_plain(entry.at)}, was not written so. {_OR_OTHERWISE}")


def _hash(key: bytes, number: int, before: bytes, mac: bytes) -> bytes:
    return hmac.digest(key, b"seal\0" + number.to_bytes(8) + before + mac, "sha256")


def _keys() -> list[bytes]:
    return service().keys("audit")


def _plain(value: Any) -> Any:
    """Return a value in the one form that it has on every database."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return str(value) if isinstance(value, UUID) else value
