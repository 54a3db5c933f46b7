"""Requests that may be repeated: who sends the same one with the same Idempotency-Key gets the first answer.

The key is claimed before anything is done, in a transaction of its own, so that of many at once one goes on.
Its answer is kept in the transaction of the deed: there are both or neither, whatever dies at any moment.
Whoever reads the table learns nothing of it: the answer, and a digest of the request, are sealed by a key
that takes the client's key to make, of which only a digest is kept (docs/adr/0014-idempotency.md).
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa
from flask import Response
from sqlalchemy.orm import Mapped, mapped_column

from api.kit import clock, work
from api.kit.db import Base, UtcDateTime, db
from api.kit.ids import new_id
from api.kit.problems import FieldError, MalformedRequest, RequestInProgress, ValidationFailed
from api.kit.secrets import Seal
from schemas.messages import Message, Phrase

HEADER = "Idempotency-Key"
MAXIMUM_KEY = 255  # characters
KEPT = timedelta(hours=24)
LEASE = timedelta(seconds=30)  # after which a claim is void whose request has no answer: its process died
REUSED = Message("idempotency_key_reused", "Was sent before, with another request.")
_NO_KEY = Phrase("Idempotency-Key must have 1 to {maximum} visible ASCII characters.", maximum=MAXIMUM_KEY)
_FORGOTTEN = 1000  # keys in one step of the chore
_is_key = re.compile(rf"[\x21-\x7e]{{1,{MAXIMUM_KEY}}}").fullmatch


class IdempotencyKey(Base):
    """A key that somebody sent, and what became of their request: nothing yet, while `answer` is null."""

    __tablename__ = "idempotency_keys"

    digest: Mapped[bytes] = mapped_column(sa.LargeBinary(32), primary_key=True)
    claim: Mapped[UUID]
    claimed_at: Mapped[datetime] = mapped_column(index=True)
    answer: Mapped[str | None] = mapped_column(sa.Text)


_CLAIM = (
    sa.text("""
    INSERT INTO idempotency_keys (digest, claim, claimed_at) VALUES (:digest, :claim, :now)
    ON CONFLICT (digest) DO UPDATE SET claim = :claim, claimed_at = :now, answer = NULL
    WHERE idempotency_keys.claimed_at <= :forgotten
       OR (idempotency_keys.answer IS NULL AND idempotency_keys.claimed_at <= :dead)
    RETURNING claim
    """)
    .bindparams(
        sa.bindparam("claim", type_=sa.Uuid()),
        *(sa.bindparam(name, type_=UtcDateTime()) for name in ("now", "forgotten", "dead")),
    )
    .columns(claim=sa.Uuid())
)
_ANSWER = sa.select(IdempotencyKey.answer).where(IdempotencyKey.digest == sa.bindparam("digest"))
_MINE = (
    IdempotencyKey.digest == sa.bindparam("of_digest"),
    IdempotencyKey.claim == sa.bindparam("of_claim"),
    IdempotencyKey.answer.is_(None),
)
_HOLD = sa.update(IdempotencyKey).where(*_MINE).values(claimed_at=sa.bindparam("now"))
_KEEP = sa.update(IdempotencyKey).where(*_MINE).values(answer=sa.bindparam("kept"))
_RELEASE = sa.delete(IdempotencyKey).where(*_MINE)


def read_key(header: str | None) -> str | None:
    """Return the key that a client sent, or None without one; raises MalformedRequest."""
    if header is not None and not _is_key(header):
        raise MalformedRequest(_NO_KEY)
    return header


class Try:
    """One try of a request with a key; whatever fails within its block gives the key free again."""

    def __init__(self, keys: Sequence[bytes], key: str) -> None:
        self._key = key
        self._seal = Seal([hmac.digest(secret, key.encode(), "sha256") for secret in keys])
        self._said = hashlib.sha256(b"whole")  # what is kept is a whole answer: earlier builds kept its parts
        self._mine: dict[str, Any] = {}

    def __enter__(self) -> "Try":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is not None and self._mine:
            work.note(_RELEASE, self._mine)

    def first_answer(self, operation: str, caller: UUID | None, arguments: dict[str, Any]) -> Response | None:
        """Return the answer that an earlier try got, or None: then the key is claimed.

        An upload among the arguments is watched as it arrives. Raises ValidationFailed when the earlier
        try was of another request, RequestInProgress while it goes on.
        """
        upload = arguments.pop("upload", None)
        said = [operation, arguments] if upload is None else [operation, arguments, upload.media_type]
        self._said.update(orjson.dumps(said, default=str, option=orjson.OPT_SORT_KEYS))
        if upload is not None:
            arguments["upload"] = replace(upload, pieces=self._watch(upload.pieces))
        digest = hashlib.sha256(f"{caller}\0{self._key}".encode()).digest()
        if self._claim(digest):
            return None
        row = work.read_one(_ANSWER, {"digest": digest})
        if row is None or row.answer is None:
            raise RequestInProgress()
        for _ in () if upload is None else arguments["upload"].pieces:
            pass  # it is to be compared as well
        return self._opened(row.answer)

    def keep(self, answer: Response) -> Response:
        """Keep the answer within the unit of work, and return it.

        Raises RequestInProgress when another try took over, for this one took too long.
        """
        given = answer.get_data(as_text=True), answer.status_code, dict(answer.headers)
        kept = self._seal.close(orjson.dumps([self._said.hexdigest(), *given]))
        if work.connection().execute(_KEEP, {**self._mine, "kept": kept}).rowcount == 0:
            raise RequestInProgress()
        return answer

    def _claim(self, digest: bytes) -> bool:
        now, claim = clock.now(), new_id()
        times = {"now": now, "forgotten": now - KEPT, "dead": now - LEASE}
        with work.apart() as connection:
            row = connection.execute(_CLAIM, {"digest": digest, "claim": claim, **times}).one_or_none()
        if row is not None:
            self._mine = {"of_digest": digest, "of_claim": claim}
        return row is not None

    def _opened(self, answer: str) -> Response:
        try:
            said, *given = orjson.loads(self._seal.open(answer))
        except ValueError:  # its secret was taken away
            said, given = None, []
        if said != self._said.hexdigest():
            raise ValidationFailed([FieldError(REUSED, parameter=HEADER)])
        return Response(*given)

    def _watch(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the pieces of an upload; keeps the claim while they arrive."""
        held_at = clock.now()
        for piece in pieces:
            self._said.update(piece)
            if self._mine and clock.now() - held_at > LEASE / 3:
                held_at = clock.now()
                work.note(_HOLD, {**self._mine, "now": held_at})
            yield piece


def has_old() -> bool:
    """Tell whether there are keys whose time is over."""
    return db.session.scalar(sa.select(IdempotencyKey.digest).where(_old()).limit(1)) is not None


def forget_old() -> bool:
    """Forget some keys whose time is over, and tell whether there may be more."""
    some = sa.select(IdempotencyKey.digest).where(_old()).limit(_FORGOTTEN)
    gone = sa.delete(IdempotencyKey).where(IdempotencyKey.digest.in_(some))
    return work.connection().execute(gone).rowcount == _FORGOTTEN


def _old() -> sa.ColumnElement[bool]:
    return IdempotencyKey.claimed_at <= clock.now() - KEPT
