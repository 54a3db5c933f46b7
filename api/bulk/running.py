"""Bring an import on, batch by batch: whoever stops at any moment leaves it where a batch ended.

A batch is read and judged first, which may take its time. Then its users, the counts and how far the
file is done are one transaction, which counts only if nobody was there before.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api.bulk import records, storing
from api.bulk.models import (
    FAILED,
    FINISHED,
    OPEN,
    RUNNING,
    ImportChunk,
    ImportClaim,
    ImportRefusal,
    UserImport,
)
from api.bulk.records import Record
from api.bulk.rows import ERRORS_PER_ROW, MEMBERS, Refused, Row, judged
from api.bulk.storing import Outcome
from api.kit import clock, work
from api.kit.db import db
from api.kit.driver_errors import is_deadlock
from api.kit.hashing import hasher
from api.kit.outbox import owe
from api.kit.problems import FieldError, Overloaded
from api.kit.service import service
from api.users import roles
from api.users.models import IS_ACTIVE, User
from schemas.bulk import END
from schemas.messages import Message

BATCH_TASK = "user_import_batch"  # in the outbox
BATCH_ROWS = 2000
BATCH_SECONDS = 1.0  # for reading and hashing: well within a lease
DEADLOCKS = 3  # that a batch gets over
IMPORT, UPDATE = "users:import", "users:write"
NEEDED = {"refuse": {IMPORT}, "skip": {IMPORT}, "update": {IMPORT, UPDATE}}
NOT_PERMITTED = "not_permitted"
INVALID_HEADER = Message("invalid_header", "Must name each column once, by the member that it holds.")
INCOMPLETE = Message("incomplete_export", "The file has not as many users as its export says.")

Source = Callable[[int], Iterator[bytes]]  # yields the file's bytes from a position on


def run_batch(_owed_id: UUID, content: dict[str, Any]) -> None:
    """Do one batch of a file that was uploaded, and owe the next one."""
    import_id, position = UUID(content["import_id"]), content["position"]
    with work.reading():
        job = db.session.get(UserImport, import_id)
    if job is None or job.status not in OPEN or job.position != position:
        return  # it was done, or taken back
    advance(job, uploaded(import_id), owes_next=True)


def owe_batch(import_id: UUID, position: int) -> None:
    """Let a worker go on with an import."""
    owe(BATCH_TASK, {"import_id": str(import_id), "position": position})


def advance(job: UserImport, source: Source, *, owes_next: bool = False) -> bool:
    """Do one batch, and return whether it counts: not if another did it meanwhile.

    What is the victim of a deadlock with another import is done again.
    """
    for _ in range(DEADLOCKS):
        try:
            return _advance(job, source, owes_next=owes_next)
        except Exception as error:  # the driver's or SQLAlchemy's
            if not is_deadlock(error):
                raise
    return _advance(job, source, owes_next=owes_next)


def _advance(job: UserImport, source: Source, *, owes_next: bool) -> bool:
    batch = _prepare(job, source)
    with work.writing():
        if not _is_permitted(job):
            batch = _Batch(job.position, job.line, job.header, is_last=True, error=NOT_PERMITTED)
        if not _take(job, batch):
            return False
        outcome = storing.store(job, batch.rows)
        outcome.refused += batch.refused
        _note(job, batch, outcome)
        if owes_next and not batch.is_last:
            owe_batch(job.id, batch.position)
    return True


def uploaded(import_id: UUID) -> Source:
    """Return what reads an uploaded file, a chunk at a time."""

    def read(position: int) -> Iterator[bytes]:
        query = sa.select(ImportChunk.start, ImportChunk.content).where(
            ImportChunk.import_id == import_id,
            ImportChunk.start + ImportChunk.size > sa.bindparam("position"),
        )
        query = query.order_by(ImportChunk.start).limit(1)
        while (chunk := work.read_one(query, {"position": position})) is not None:
            content = opened(chunk.content)
            yield content[position - chunk.start :]
            position = chunk.start + len(content)

    return read


def closed(content: bytes) -> bytes:
    """Return what a chunk is kept as: compressed, and sealed."""
    return service().seal("import").close(zlib.compress(content, 1)).encode()


def opened(kept: bytes) -> bytes:
    return zlib.decompress(service().seal("import").open(kept.decode()))


@dataclass
class _Batch:
    """Some records of a file, judged, and where the next one begins."""

    position: int
    line: int
    header: list[str] | None
    count: int = 0
    rows: list[Row] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    is_last: bool = False
    error: str | None = None


def _prepare(job: UserImport, source: Source) -> _Batch:
    """Read and judge the next records: BATCH_ROWS, or what BATCH_SECONDS allow."""
    batch = _Batch(job.position, job.line, job.header)
    with work.reading():
        grantable = roles.names() if job.may_grant else frozenset()
    deadline = clock.monotonic() + BATCH_SECONDS
    for record in _records(job, source, batch):
        try:
            _judge(job, batch, record, grantable)
        except Overloaded:
            if batch.count == 0:
                raise
            return batch
        batch.position, batch.line = record.end, record.last_line
        if batch.count >= BATCH_ROWS or clock.monotonic() > deadline:
            return batch
    batch.is_last = True
    if batch.error is None:
        batch.position = job.bytes
    return batch


def _records(job: UserImport, source: Source, batch: _Batch) -> Iterator[Record]:
    found = records.lines(source(job.position))
    if job.format == "ndjson":
        return records.ndjson(found, job.position, job.line)
    rows = records.csv_cells(found, job.position, job.line)
    if batch.header is None:
        first = next(rows, None)
        if first is None:
            return iter(())
        names = first.cells or []
        if not names or len(set(names)) < len(names) or not MEMBERS.issuperset(names):
            batch.error = INVALID_HEADER.code
            batch.refused.append(Refused(first.line, [FieldError(INVALID_HEADER, pointer="")]))
            return iter(())
        batch.header, batch.position, batch.line = names, first.end, first.last_line
    return records.named(rows, batch.header)


def _judge(job: UserImport, batch: _Batch, record: Record, grantable: frozenset[str]) -> None:
    """Add a record to the batch; raises Overloaded when there is no place to hash its password."""
    if record.fault is None and record.values.keys() == {END}:
        if record.values[END] != job.rows + batch.count:
            batch.refused.append(_refused(record, INCOMPLETE, f"/{END}"))
            batch.count += 1
        return
    if record.fault is not None:
        found: Row | Refused = _refused(record, record.fault, record.pointer)
    else:
        found = judged(record.values, record.line, grantable=grantable)
    if isinstance(found, Refused):
        batch.refused.append(found)
    else:
        if found.password is not None and not job.dry_run:
            found.columns["password_hash"] = hasher().hash(found.password)
        batch.rows.append(found)
    batch.count += 1


def _refused(record: Record, message: Message, pointer: str) -> Refused:
    return Refused(record.line, [FieldError(message, pointer=pointer)])


def _is_permitted(job: UserImport) -> bool:
    """Tell whether who sent the file may still do what they could then, until this unit of work ends."""
    if job.created_by is None:
        return True
    sender = db.session.scalar(
        sa.select(User).where(User.id == job.created_by, IS_ACTIVE).with_for_update(read=True)
    )
    needed = roles.every_permission() if job.may_grant else NEEDED[job.on_conflict]
    return sender is not None and roles.permissions_of(sender.roles) >= needed


def _take(job: UserImport, batch: _Batch) -> bool:
    """Move on in the file if it is still where it was: whoever comes second waits here, and is told no."""
    where = (UserImport.id == job.id, UserImport.position == job.position, UserImport.status.in_(OPEN))
    now = clock.now()
    moved = (
        sa.update(UserImport)
        .where(*where)
        .values(
            position=batch.position,
            line=batch.line,
            header=batch.header,
            status=_status(batch),
            error=batch.error,
            touched_at=now,
            started_at=job.started_at or now,
            finished_at=now if batch.is_last else None,
        )
    )
    return db.session.scalar(moved.returning(UserImport.id)) is not None


def _status(batch: _Batch) -> str:
    if not batch.is_last:
        return RUNNING
    return FINISHED if batch.error is None else FAILED


def _note(job: UserImport, batch: _Batch, outcome: Outcome) -> None:
    """Add the counts and the refusals of a batch, and throw away what is needed no more."""
    counts = {
        "rows": batch.count,
        "created": outcome.created,
        "updated": outcome.updated,
        "skipped": outcome.skipped,
        "refused": len(outcome.refused),
    }
    added = {name: getattr(UserImport, name) + count for name, count in counts.items()}
    db.session.execute(sa.update(UserImport).where(UserImport.id == job.id).values(added))
    refusals = list(chain.from_iterable(_rows_of(job, refused) for refused in outcome.refused))
    if refusals:
        db.session.execute(sa.insert(ImportRefusal), refusals)
    done = ImportChunk.start + ImportChunk.size <= batch.position
    db.session.execute(sa.delete(ImportChunk).where(ImportChunk.import_id == job.id, done | batch.is_last))
    if batch.is_last and job.dry_run:
        db.session.execute(sa.delete(ImportClaim).where(ImportClaim.import_id == job.id))


def _rows_of(job: UserImport, refused: Refused) -> Iterator[dict[str, Any]]:
    for number, error in enumerate(refused.errors[:ERRORS_PER_ROW]):
        yield {
            "import_id": job.id,
            "line": refused.line,
            "number": number,
            "code": error.message.code[:40],
            "pointer": _fitting(error.pointer or "")[:200],
            "detail": error.message[:300],
        }


def _fitting(pointer: str) -> str:
    """Return a pointer, which may hold a member's name from the file, as a database can keep it."""
    return pointer.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
