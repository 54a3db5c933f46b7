"""What can be done with imports and exports, whoever asks for it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api.bulk import exporting
from api.bulk.models import FAILED, FINISHED, OPEN, UPLOADING, WAITING, ImportChunk, ImportRefusal, UserImport
from api.bulk.running import NEEDED, Source, advance, closed, owe_batch
from api.kit import clock, work
from api.kit.conditional import Precondition
from api.kit.db import db
from api.kit.events import Event
from api.kit.identity import Identity
from api.kit.ids import new_id
from api.kit.pages import Order, Page, page
from api.kit.problems import NotFound
from api.kit.service import emit, service
from api.kit.settings import Setting, integer

EXPORT_SECRETS = "users:export-secrets"
IMPORT_BYTES = Setting(
    "IMPORT_BYTES", "Bytes that an uploaded file of users may have.", 4 << 30, integer(1 << 16, 1 << 40)
)
CHUNK_BYTES = 1 << 20  # of an upload that are stored at once
ABANDONED = timedelta(hours=1)  # after its last chunk, an upload that neither ended nor broke off


@dataclass(frozen=True)
class Choice:
    """How a file is to be brought in."""

    format: str
    dry_run: bool
    on_conflict: str


def receive(pieces: Iterable[bytes], choice: Choice, by: Identity) -> UserImport:
    """Store a file as it arrives, and owe its import once it is there as a whole.

    Raises PermissionDenied, NotFound when somebody deletes it meanwhile, or whatever breaks the upload off,
    which leaves nothing behind.
    """
    for permission in sorted(NEEDED[choice.on_conflict]):
        by.require(permission)
    job = _new(choice, status=UPLOADING, created_by=by.user_id, may_grant=_may_all(by))
    with work.apart() as connection:
        _forget_abandoned(connection)
        connection.execute(sa.insert(UserImport), job)
    try:
        size = _keep(job["id"], pieces)
    except BaseException:
        with work.apart() as connection:
            connection.execute(sa.delete(UserImport).where(UserImport.id == job["id"]))
        raise
    whole = sa.update(UserImport).where(UserImport.id == job["id"]).values(status=WAITING, bytes=size)
    received = db.session.scalars(whole.returning(UserImport)).one_or_none()
    if received is None:
        raise NotFound()
    owe_batch(received.id, 0)
    return received


def get(import_id: UUID) -> UserImport:
    """Return an import; raises NotFound."""
    found = db.session.get(UserImport, import_id)
    if found is None:
        raise NotFound()
    return found


def etag(job: UserImport) -> str:
    """Return the entity tag of an import: it changes as it goes on."""
    return f"{job.id}.{job.position}.{job.status}"


def list_page(*, limit: int, cursor: str | None) -> Page:
    """Return a page of imports, the newest first; raises ValidationFailed for a foreign cursor."""
    order = Order((UserImport.created_at, UserImport.id), descending=True)
    return page(sa.select(UserImport), order, limit=limit, cursor=cursor)


def errors_page(import_id: UUID, *, limit: int, cursor: str | None) -> Page:
    """Return a page of what is wrong with an import's rows; raises NotFound or ValidationFailed."""
    order = Order((ImportRefusal.line, ImportRefusal.number), descending=False)
    query = sa.select(ImportRefusal).where(ImportRefusal.import_id == import_id)
    binding = {"import": str(import_id)}
    found = page(query, order, limit=limit, cursor=cursor, filters=binding)
    get(import_id)
    return found


def delete(import_id: UUID, precondition: Precondition) -> None:
    """Forget an import, which ends it where it is; raises NotFound or PreconditionFailed."""
    found = db.session.get(UserImport, import_id, with_for_update=True)
    if found is None:
        raise NotFound()
    precondition.check(etag(found))
    db.session.execute(sa.delete(UserImport).where(UserImport.id == import_id))
    emit(ImportDeleted(import_id, found.status))


@dataclass(frozen=True)
class ImportDeleted(Event):
    """Somebody ended an import where it was, or forgot one that was over."""

    actions = ("import_deleted",)
    import_id: UUID
    status: str

    def details(self) -> dict[str, Any]:
        return {"import_id": str(self.import_id), "status": self.status}


@dataclass(frozen=True)
class UsersExported(Event):
    """Somebody is about to get all users, with their roles and password hashes or without."""

    actions = ("users_exported",)
    format: str
    secrets: bool

    def details(self) -> dict[str, Any]:
        return {"format": self.format, "secrets": self.secrets}


def export(file_format: str, *, secrets: bool, by: Identity) -> Iterator[bytes]:
    """Yield all users as a file; raises PermissionDenied."""
    if secrets:
        by.require(EXPORT_SECRETS)
    note_export(file_format, secrets=secrets)
    return exporting.export(file_format, secrets=secrets)


def note_export(file_format: str, *, secrets: bool) -> None:
    """Tell of an export before its first line: who breaks it off has what came until then."""
    with work.apart():
        emit(UsersExported(file_format, secrets))


def resumed(digest: str, size: int, choice: Choice) -> UserImport:
    """Return the import of a file that is read in place: the one that was begun, or a new one."""
    begun = sa.select(UserImport).where(
        UserImport.digest == digest,
        UserImport.status.in_(OPEN),
        UserImport.format == choice.format,
        UserImport.dry_run == choice.dry_run,
        UserImport.on_conflict == choice.on_conflict,
    )
    found = db.session.scalar(begun.order_by(UserImport.created_at.desc()).limit(1))
    if found is not None:
        return found
    job = UserImport(
        **_new(choice, status=WAITING, created_by=None, may_grant=True, digest=digest, bytes=size)
    )
    db.session.add(job)
    return job


def step(import_id: UUID, source: Source) -> UserImport | None:
    """Bring an import on by a batch, and return it; None when another process brings it on as well."""
    with work.reading():
        job = get(import_id)
    if is_over(job):
        return job
    if not advance(job, source):
        return None
    with work.reading():
        return get(import_id)


def is_over(job: UserImport) -> bool:
    return job.status in (FINISHED, FAILED)


def refusals_after(import_id: UUID, line: int, number: int) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    """Return some more of what is wrong with an import's rows, in their order."""
    refusal = ImportRefusal
    query = sa.select(refusal.line, refusal.number, refusal.code, refusal.pointer, refusal.detail)
    query = query.where(refusal.import_id == import_id)
    query = query.where(sa.tuple_(refusal.line, refusal.number) > sa.tuple_(line, number))
    return work.read_all(query.order_by(refusal.line, refusal.number).limit(1000))


def _may_all(by: Identity) -> bool:
    return by.permissions >= {permission.name for permission in service().permissions}


def _new(choice: Choice, **more: Any) -> dict[str, Any]:
    now = clock.now()
    chosen = {"format": choice.format, "dry_run": choice.dry_run, "on_conflict": choice.on_conflict}
    return {"id": new_id(), "bytes": 0, "created_at": now, "touched_at": now, **chosen, **more}


def _keep(import_id: UUID, pieces: Iterable[bytes]) -> int:
    """Store the pieces as chunks, each in a transaction of its own, and return how many bytes they are."""
    start, waiting = 0, bytearray()
    for piece in pieces:
        waiting += piece
        if len(waiting) >= CHUNK_BYTES:
            start += _keep_chunk(import_id, start, bytes(waiting))
            waiting.clear()
    return start + _keep_chunk(import_id, start, bytes(waiting)) if waiting else start


def _keep_chunk(import_id: UUID, start: int, content: bytes) -> int:
    row = {"import_id": import_id, "start": start, "size": len(content), "content": closed(content)}
    touch = sa.update(UserImport).where(UserImport.id == import_id)
    touch = touch.values(touched_at=clock.now(), bytes=start + len(content))
    with work.apart() as connection:
        if connection.execute(touch).rowcount == 0:
            raise NotFound()  # somebody deleted it meanwhile
        connection.execute(sa.insert(ImportChunk), row)
    return len(content)


def _forget_abandoned(connection: sa.Connection) -> None:
    """Forget uploads that ended with the process that received them."""
    long_ago = clock.now() - ABANDONED
    abandoned = (UserImport.status == UPLOADING, UserImport.touched_at < long_ago)
    connection.execute(sa.delete(UserImport).where(*abandoned))
