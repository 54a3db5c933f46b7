"""Failed attempts to prove who one is, counted in the database before anything is evaluated.

docs/adr/0011-limits.md says why it counts as it does.
"""

import hmac
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

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


class FailedAttempts(Base):
    """How often something was tried in vain, or is being tried, in a window that ends at `ends_at`.

    `key` is a keyed hash: who reads the table learns neither accounts nor addresses, nor the password
    that somebody typed into the wrong field.
    """

    __tablename__ = "failed_attempts"

    key: Mapped[bytes] = mapped_column(sa.LargeBinary(16), primary_key=True)
    counted: Mapped[int]
    ends_at: Mapped[datetime] = mapped_column(index=True)


# Rows are locked in the order in which they are named, so that two attempts never wait for each other.
_TAKE = """
    INSERT INTO failed_attempts (key, counted, ends_at) VALUES {rows}
    ON CONFLICT (key) DO UPDATE SET
      counted = CASE WHEN failed_attempts.ends_at <= :now THEN 1 ELSE failed_attempts.counted + 1 END,
      ends_at = CASE
        WHEN failed_attempts.ends_at <= :now THEN excluded.ends_at ELSE failed_attempts.ends_at END
    RETURNING key, counted, ends_at
"""
# A row that was forgotten meanwhile comes back with a window that has passed, and is forgotten again.
_GIVE_BACK = """
    INSERT INTO failed_attempts (key, counted, ends_at) VALUES {rows}
    ON CONFLICT (key) DO UPDATE SET counted = failed_attempts.counted - 1
    WHERE failed_attempts.ends_at = excluded.ends_at AND failed_attempts.counted > 0
    RETURNING key, counted, ends_at
"""


@lru_cache
def _query(text: str, rows: int) -> Query:
    """Return a statement on so many rows: parameters `key_0`, `counted_0`, `ends_at_0` and so on."""
    values = ", ".join(f"(:key_{n}, :counted_{n}, :ends_at_{n})" for n in range(rows))
    names = [f"ends_at_{n}" for n in range(rows)] + ["now"] * (":now" in text)
    instants = [sa.bindparam(name, type_=UtcDateTime()) for name in names]
    statement = sa.text(text.format(rows=values)).bindparams(*instants)
    return Query(statement.columns(key=sa.LargeBinary(), counted=sa.Integer(), ends_at=UtcDateTime()))


def _run(text: str, rows: Iterable[tuple[bytes, int, datetime]], **parameters: Any) -> Sequence[Any]:
    """Run a statement on rows of key, count and end, in the transaction that is open."""
    named = [
        (f"{name}_{n}", value)
        for n, row in enumerate(rows)
        for name, value in zip(("key", "counted", "ends_at"), row, strict=True)
    ]
    return _query(text, len(named) // 3).all_in_unit(dict(named, **parameters))


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
        places, is_last = _take_all(sorted(subjects), network_of(address))
    try:
        yield is_last
    except Overloaded:  # nothing was evaluated
        with work.apart():
            _give_back(places)
        raise
    _give_back(places)


def _take_all(subjects: list[str], network: str) -> tuple[list[Any], bool]:
    """Take the places of one attempt, and return their rows, and whether one of them is the last.

    All or none: when one is not to be had, the transaction is undone. Always accounts first.
    """
    now = clock.now()
    accounts = dict.fromkeys((_key("account", s) for s in subjects), setting(FAILED_ATTEMPTS_PER_ACCOUNT))
    address = {_key("address", network): setting(FAILED_ATTEMPTS_PER_ADDRESS)}
    pairs = dict.fromkeys(
        (_key("account and address", s, network) for s in subjects), setting(FAILED_ATTEMPTS)
    )
    rows = _take(now, accounts | address | pairs)
    allowance = _allowance(max((rows[key].counted for key in accounts), default=0))
    quotas = {key: limit.quota for key, limit in address.items()} | dict.fromkeys(pairs, allowance)
    for key, quota in quotas.items():
        if rows[key].counted > quota:
            raise TooManyAttempts(max(1, math.ceil((rows[key].ends_at - now).total_seconds())))
    return list(rows.values()), any(rows[key].counted >= quota for key, quota in quotas.items())


def is_within(limit: Limit, *named: str) -> bool:
    """Count something that may be done so often, in the current unit of work, and tell whether it may be."""
    if setting(LIMITS) == "off":
        return True
    key = _key(*named)
    return bool(_take(clock.now(), {key: limit})[key].counted <= limit.quota)


def _key(*named: str) -> bytes:
    return hmac.digest(service().keys("attempts")[0], "\0".join(named).encode(), "sha256")[:16]


def _take(now: datetime, limits: Mapping[bytes, Limit]) -> dict[bytes, Any]:
    """Count one more for each key, whose window begins now unless it has begun; return the rows by key."""
    rows = [(key, 1, now + timedelta(seconds=limit.seconds)) for key, limit in limits.items()]
    return {row.key: row for row in _run(_TAKE, rows, now=now)}


def _allowance(failed: int) -> int:
    """Return how often each address may try for an account that so many tries failed for.

    Over the limit of the account it falls as their number grows, so that many addresses together gain
    little; but one try is left to each: else whoever guesses would lock the owner out.
    """
    quota, bound = setting(FAILED_ATTEMPTS).quota, setting(FAILED_ATTEMPTS_PER_ACCOUNT).quota
    return max(1, quota * bound // max(bound, failed))


def _give_back(places: Iterable[Any]) -> None:
    _run(_GIVE_BACK, [(place.key, 0, place.ends_at) for place in places])


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
