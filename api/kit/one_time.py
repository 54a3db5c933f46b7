"""One-time tokens: proof that somebody reads the letters of an address; hashed at rest, used up once."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from api.kit import clock, encoding, work
from api.kit.db import Base, among, db
from api.kit.ids import new_id
from api.kit.queries import Query
from schemas.messages import Message

UNUSABLE = Message("unusable_token", "Is not a token that can be used: ask for another letter.")
_FORGOTTEN = 1000  # tokens in one step of the chore
BYTES = 32  # of entropy; 16 are asked for (OWASP ASVS 6.6.3)


class OneTimeToken(Base):
    """A token that was sent: only its digest is known here.

    It proves the `address` that it was sent to, in the form that its purpose compares, and no other.
    """

    __tablename__ = "one_time_tokens"
    __table_args__ = (sa.UniqueConstraint("user_id", "purpose", "address"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    digest: Mapped[bytes] = mapped_column(sa.LargeBinary(32), unique=True)
    purpose: Mapped[str] = mapped_column(sa.String(40))
    user_id: Mapped[UUID]
    address: Mapped[str] = mapped_column(sa.String(254))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


_PROOF = OneTimeToken.user_id, OneTimeToken.address, OneTimeToken.created_at


_ISSUE = Query(
    sa.text("""
    INSERT INTO one_time_tokens (id, digest, purpose, user_id, address, created_at, expires_at)
    VALUES (:id, :digest, :purpose, :user_id, :address, :created_at, :expires_at)
    ON CONFLICT (user_id, purpose, address) DO UPDATE SET
      id = excluded.id, digest = excluded.digest,
      created_at = excluded.created_at, expires_at = excluded.expires_at
    RETURNING id
    """)
    .bindparams(*(sa.bindparam(column.name, type_=column.type) for column in OneTimeToken.__table__.columns))
    .columns(id=sa.Uuid())
)


_LOOK = Query(
    sa.select(*_PROOF).where(
        OneTimeToken.digest == sa.bindparam("digest"), OneTimeToken.expires_at > sa.bindparam("now")
    )
)


class Proof(NamedTuple):
    """What the use of a token showed: this user reads the letters of this address."""

    user_id: UUID
    address: str
    issued_at: datetime


def issue(purpose: str, user_id: UUID, address: str, seconds: int) -> str:
    """Return a new token for a purpose; the one that was sent to the address before is good no more."""
    now = clock.now()
    token = encoding.encode(secrets.token_bytes(BYTES))
    _ISSUE.all_in_unit(
        {
            "id": new_id(),
            "digest": _digest(purpose, token),
            "purpose": purpose,
            "user_id": user_id,
            "address": address,
            "created_at": now,
            "expires_at": now + timedelta(seconds=seconds),
        }
    )
    return token


def look_at(purpose: str, token: str) -> Proof | None:
    """Return what the use of a token would prove now; a look before work that is dear, and before locks."""
    found = _LOOK.one_or_none({"digest": _digest(purpose, token), "now": clock.now()})
    return None if found is None else Proof(*found)


def use(purpose: str, token: str) -> Proof | None:
    """Use a token up, and return what it proves; None for one that is none, was used or has expired.

    Of several uses at once one succeeds, if its unit of work commits.
    """
    used = sa.delete(OneTimeToken).where(*_live(purpose, token))
    found = db.session.execute(used.returning(*_PROOF)).one_or_none()
    return None if found is None else Proof(*found)


def withdraw(user_id: UUID, *purposes: str) -> None:
    """Make a user's tokens for some purposes good no more."""
    _delete(OneTimeToken.user_id == user_id, OneTimeToken.purpose.in_(purposes))


def withdraw_of(user_ids: Collection[UUID], *purposes: str) -> None:
    """Make the tokens of some users for some purposes good no more."""
    if user_ids:
        _delete(among(OneTimeToken.user_id, user_ids), OneTimeToken.purpose.in_(purposes))


def withdraw_later_than(proof: Proof, purpose: str) -> None:
    """Make the tokens good no more that the user got for a purpose after the one of a proof."""
    _delete(
        OneTimeToken.user_id == proof.user_id,
        OneTimeToken.purpose == purpose,
        OneTimeToken.created_at > proof.issued_at,
    )


def held_about(user_id: UUID, *purposes: str) -> list[dict[str, Any]]:
    """Return what is kept of a user's tokens for some purposes, less what they could be found by."""
    columns = OneTimeToken.purpose, OneTimeToken.address, OneTimeToken.created_at, OneTimeToken.expires_at
    query = sa.select(*columns).where(OneTimeToken.user_id == user_id, OneTimeToken.purpose.in_(purposes))
    return [dict(row) for row in db.session.execute(query.order_by(OneTimeToken.created_at)).mappings()]


def erase(user_ids: Collection[UUID]) -> None:
    """Forget every token of some users."""
    _delete(OneTimeToken.user_id.in_(user_ids))


def has_expired() -> bool:
    """Tell whether there are tokens that can be used no more."""
    return db.session.scalar(sa.select(OneTimeToken.id).where(_expired()).limit(1)) is not None


def forget_expired() -> bool:
    """Forget some tokens that have expired, and tell whether there may be more."""
    some = sa.select(OneTimeToken.id).where(_expired()).limit(_FORGOTTEN)
    gone = sa.delete(OneTimeToken).where(OneTimeToken.id.in_(some))
    return work.connection().execute(gone).rowcount == _FORGOTTEN


def _expired() -> sa.ColumnElement[bool]:
    return OneTimeToken.expires_at <= clock.now()


def _delete(*conditions: sa.ColumnElement[bool]) -> None:
    tokens = sa.delete(OneTimeToken).where(*conditions)
    db.session.execute(tokens.execution_options(synchronize_session=False))


def _live(purpose: str, token: str) -> tuple[sa.ColumnElement[bool], ...]:
    return OneTimeToken.digest == _digest(purpose, token), OneTimeToken.expires_at > clock.now()


def _digest(purpose: str, token: str) -> bytes:
    """Return what is kept of a token: with so much entropy a plain hash will do."""
    return hashlib.sha256(f"{purpose}:{token}".encode()).digest()
