"""One-time tokens: proof that somebody reads the letters of an address; hashed at rest, used up once."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from api.kit import clock, encoding
from api.kit.db import Base, db
from api.kit.ids import new_id
from schemas.base import Message

UNUSABLE = Message("unusable_token", "Is not a token that can be used: ask for another letter.")
BYTES = 32  # of entropy; 16 are asked for (OWASP ASVS 6.6.3)


class OneTimeToken(Base):
    """A token that was sent: only its digest is known here.

    `address` is the comparable form of where it was sent: it proves that address and no other.
    """

    __tablename__ = "one_time_tokens"
    __table_args__ = (sa.UniqueConstraint("user_id", "purpose"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    digest: Mapped[bytes] = mapped_column(sa.LargeBinary(32), unique=True)
    purpose: Mapped[str] = mapped_column(sa.String(40))
    user_id: Mapped[UUID]
    address: Mapped[str] = mapped_column(sa.String(254))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class Proof(NamedTuple):
    """What the use of a token showed: this user reads the letters of this address."""

    user_id: UUID
    address: str


def issue(purpose: str, user_id: UUID, address: str, seconds: int) -> str:
    """Return a new token for a purpose; the ones that the user had for it are good no more."""
    withdraw(user_id, purpose)
    now = clock.now()
    token = encoding.encode(secrets.token_bytes(BYTES))
    db.session.add(
        OneTimeToken(
            id=new_id(),
            digest=_digest(purpose, token),
            purpose=purpose,
            user_id=user_id,
            address=address,
            created_at=now,
            expires_at=now + timedelta(seconds=seconds),
        )
    )
    return token


def look_at(purpose: str, token: str) -> Proof | None:
    """Return what the use of a token would prove now; a look before work that is dear, and before locks."""
    query = sa.select(OneTimeToken.user_id, OneTimeToken.address).where(*_live(purpose, token))
    found = db.session.execute(query).one_or_none()
    return None if found is None else Proof(*found)


def use(purpose: str, token: str) -> Proof | None:
    """Use a token up, and return what it proves; None for one that is none, was used or has expired.

    Of several uses at once one succeeds, if its unit of work commits.
    """
    used = sa.delete(OneTimeToken).where(*_live(purpose, token))
    found = db.session.execute(used.returning(OneTimeToken.user_id, OneTimeToken.address)).one_or_none()
    return None if found is None else Proof(*found)


def withdraw(user_id: UUID, purpose: str) -> None:
    """Make a user's token for a purpose good no more."""
    mine = sa.delete(OneTimeToken).where(OneTimeToken.user_id == user_id, OneTimeToken.purpose == purpose)
    db.session.execute(mine.execution_options(synchronize_session=False))


def _live(purpose: str, token: str) -> tuple[sa.ColumnElement[bool], ...]:
    return OneTimeToken.digest == _digest(purpose, token), OneTimeToken.expires_at > clock.now()


def _digest(purpose: str, token: str) -> bytes:
    """Return what is kept of a token: with so much entropy a plain hash will do."""
    return hashlib.sha256(f"{purpose}:{token}".encode()).digest()
