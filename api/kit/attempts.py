"""Failed attempts to prove who one is, counted in the database before anything is evaluated.

docs/adr/0011-limits.md says why it counts as it does.
"""

import hmac
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from api.kit import clock, work
from api.kit.addresses import network_of
from api.kit.config import FAILED_ATTEMPTS, FAILED_ATTEMPTS_PER_ACCOUNT, FAILED_ATTEMPTS_PER_ADDRESS, LIMITS
from api.kit.db import Base, UtcDateTime, db
from api.kit.hashing import hasher
from api.kit.problems import Overloaded, TooManyAttempts
from api.kit.queries import Query
from api.kit.service import service, setting
from api.kit.settings import Limit

_FORGOTTEN = 1000  # rows whose window has passed, at once
_UNBOUNDED = 2**31 - 1


class FailedAttempts(Base):
    """How often something was tried in vain, or is being tried, in a window that ends at `ends_at`.

    `key` is a keyed hash: who reads the table learns neither accounts nor addresses, nor the password
    that somebody typed into the wrong field.
    """

    __tablename__ = "failed_attempts"

    key: Mapped[bytes] = mapped_column(sa.LargeBinary(16), primary_key=True)
    counted: Mapped[int]
    ends_at: Mapped[datetime] = mapped_column(index=True)


@dataclass(frozen=True)
class _Place:
    """One counted attempt: it can be given back as long as its window lasts."""

    key: bytes
    counted: int
    ends_at: datetime
    is_last: bool


# One statement, so that of many at once no more than the quota get a row back.
_TAKE = Query(
    sa.text("""
    INSERT INTO failed_attempts (key, counted, ends_at) VALUES (:key, 1, :ends_at)
    ON CONFLICT (key) DO UPDATE SET
      counted = CASE WHEN failed_attempts.ends_at <= :now THEN 1 ELSE failed_attempts.counted + 1 END,
      ends_at = CASE WHEN failed_attempts.ends_at <= :now THEN :ends_at ELSE failed_attempts.ends_at END
    WHERE failed_attempts.ends_at <= :now OR failed_attempts.counted < :quota
    RETURNING counted, ends_at
    """)
    .bindparams(sa.bindparam("now", type_=UtcDateTime()), sa.bindparam("ends_at", type_=UtcDateTime()))
    .columns(counted=sa.Integer(), ends_at=UtcDateTime())
)
_GIVE_BACK = (
    sa.update(FailedAttempts)
    .where(FailedAttempts.key == sa.bindparam("taken"), FailedAttempts.ends_at == sa.bindparam("until"))
    .where(FailedAttempts.counted > 0)
    .values(counted=FailedAttempts.counted - 1)
)


@contextmanager
def attempt(subjects: Iterable[str], address: str | None) -> Iterator[bool]:
    """Let somebody at an address try to prove that they are who the subjects name.

    Yield whether it is the last try that they have for now.

    It counts as failed, from before it begins, unless it ends without an exception: then that is
    forgotten within the unit of work that it wrote. Raises TooManyAttempts, or Overloaded when too many
    try already, which is told before anything is counted.
    """
    hasher().refuse_when_full()
    if setting(LIMITS) == "off":
        yield False
        return
    with work.apart():
        places = _take_all(sorted(subjects), network_of(address))
    try:
        yield any(place.is_last for place in places)
    except Overloaded:  # nothing was evaluated
        with work.apart():
            _give_back(places)
        raise
    _give_back(places)


def _take_all(subjects: list[str], network: str) -> list[_Place]:
    """Take the places of one attempt, all or none, in one transaction.

    Always in the same order, accounts first, so that two never wait for each other.
    """
    now = clock.now()
    limit = setting(FAILED_ATTEMPTS_PER_ACCOUNT)
    accounts = [_place(now, limit, _UNBOUNDED, "account", subject) for subject in subjects]
    quota = _allowance(max((account.counted for account in accounts), default=0))
    limit = setting(FAILED_ATTEMPTS_PER_ADDRESS)
    places = [*accounts, _place(now, limit, limit.quota, "address", network)]
    limit = setting(FAILED_ATTEMPTS)
    return places + [_place(now, limit, quota, "account and address", s, network) for s in subjects]


def _place(now: datetime, limit: Limit, quota: int, *named: str) -> _Place:
    key = _key(*named)
    place = _take(now, limit, quota, key)
    if place is None:
        raise TooManyAttempts(_wait(key, now))
    return place


def _wait(key: bytes, now: datetime) -> int:
    """Return the seconds until the window of a key ends."""
    query = sa.select(FailedAttempts.ends_at).where(FailedAttempts.key == key)
    ends_at = work.connection().scalars(query).one()
    return max(1, math.ceil((ends_at - now).total_seconds()))


def is_within(limit: Limit, *named: str) -> bool:
    """Count something that may be done so often, in the current unit of work, and tell whether it may be."""
    if setting(LIMITS) == "off":
        return True
    return _take(clock.now(), limit, limit.quota, _key(*named)) is not None


def _key(*named: str) -> bytes:
    return hmac.digest(service().keys("attempts")[0], "\0".join(named).encode(), "sha256")[:16]


def _take(now: datetime, limit: Limit, quota: int, key: bytes) -> _Place | None:
    """Take a place if one is left."""
    ends_at = now + timedelta(seconds=limit.seconds)
    parameters = {"key": key, "now": now, "ends_at": ends_at, "quota": quota}
    row = _TAKE.in_unit(parameters)
    return None if row is None else _Place(key, row.counted, row.ends_at, row.counted >= quota)


def _allowance(failed: int) -> int:
    """Return how often each address may try for an account that so many tries failed for.

    Over the limit of the account it falls as their number grows, so that many addresses together gain
    little; but one try is left to each: else whoever guesses would lock the owner out.
    """
    quota, bound = setting(FAILED_ATTEMPTS).quota, setting(FAILED_ATTEMPTS_PER_ACCOUNT).quota
    return max(1, quota * bound // max(bound, failed))


def _give_back(places: Iterable[_Place]) -> None:
    work.connection().execute(_GIVE_BACK, [{"taken": place.key, "until": place.ends_at} for place in places])


def has_passed() -> bool:
    """Tell whether there are counts whose window has passed."""
    return db.session.scalar(sa.select(FailedAttempts.key).where(_passed()).limit(1)) is not None


def forget_passed() -> bool:
    """Forget some counts whose window has passed, and tell whether there may be more."""
    some = sa.select(FailedAttempts.key).where(_passed()).limit(_FORGOTTEN).with_for_update(skip_locked=True)
    gone = sa.delete(FailedAttempts).where(FailedAttempts.key.in_(some))
    return work.connection().execute(gone).rowcount == _FORGOTTEN


def _passed() -> sa.ColumnElement[bool]:
    return FailedAttempts.ends_at <= clock.now()
