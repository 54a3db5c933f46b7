"""The indexes of trigrams that a search goes by: PostgreSQL's pg_trgm, and tables of SQLite's FTS5.

SQLite's gives users in the order of their numbers (migration 0012), which is that of the seconds in which
they were created, the latest first: a search reads a page of it. PostgreSQL's has no order: it is for what
few users have, and asked first together with an index of which pages hold the users near those seen
(migration 0015), so that not all whom it finds are read.
"""

import calendar
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import sqlalchemy as sa

from api.kit.queries import Query
from api.kit.searching import is_worth_an_index, telling_part, telling_run
from api.users.models import User

_LEAD = 16  # characters of a search that are looked up: more of them only cost more
_SOME = 1_000  # users whom SQLite's index finds that are looked at, where not all of them fit
_SPARE = 4  # more of them than asked for, since those of the last one's second may not be all
_NEAR = 200  # times as many users as at a glance, among whom PostgreSQL's index is asked first
RARE = 5_000  # users that an index in another order may find: they are sorted
_INDEX = "ix_users_search_text"  # of PostgreSQL
_BITS = 25  # of a number, below its second
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
_NUMBERED = sa.table("users_search_rows", sa.column("number"), sa.column("user_id", sa.Uuid()))
_NUMBER = sa.column("rowid", sa.BigInteger())
_MATCHES = (
    sa.select(_NUMBER)
    .select_from(sa.table("users_search"))
    .where(
        sa.text("users_search MATCH :phrase"),
        sa.bindparam("first") <= _NUMBER,
        sa.bindparam("beyond") > _NUMBER,
    )
)
_NUMBERS = {
    down: Query(sa.select(sa.func.json_group_array(found.c.rowid).label("numbers")))
    for down in (False, True)
    for found in [
        _MATCHES.order_by(_NUMBER if down else _NUMBER.desc()).limit(sa.bindparam("most")).subquery()
    ]
}
SOME_MATCHES = sa.select(sa.func.count()).select_from(_MATCHES.limit(sa.bindparam("most")).subquery())


def _have_number(numbers: sa.Select[Any]) -> sa.ColumnElement[bool]:
    return User.id.in_(sa.select(_NUMBERED.c.user_id).where(_NUMBERED.c.number.in_(numbers)))


BY_TRIGRAMS: dict[str, sa.ColumnElement[bool]] = {
    "postgresql": User.search_text.like(sa.bindparam("pattern", type_=sa.Text())),
    "sqlite": _have_number(_MATCHES),
}
_GIVEN = sa.func.json_each(sa.bindparam("numbers", type_=sa.Text())).table_valued("value")
FOUND = {**BY_TRIGRAMS, "numbers": _have_number(sa.select(_GIVEN.c.value))}
_PLAN = Query(
    sa.text("EXPLAIN (FORMAT JSON) SELECT id FROM users WHERE search_text LIKE :pattern").columns(
        sa.column("plan", sa.JSON())
    )
)


class Position(NamedTuple):
    """A place in the list at which nobody need be."""

    created_at: datetime
    id: UUID


def parameters(sought: str) -> dict[str, Any]:
    """Return what the indexes are asked for a needle, which those whom they find may have or not."""
    return {**_of_part(sought[:_LEAD]), "first": _LEAST, "beyond": _MOST}


def rare_pattern(sought: str) -> str | None:
    """Return a pattern by which PostgreSQL finds few users, as far as it can tell at once."""
    for part in dict.fromkeys((telling_part(sought)[:_LEAD], sought[:_LEAD])):
        pattern = f"%{part}%"
        if is_worth_an_index(part) and _finds_few(pattern):
            return pattern
    return None


def _of_part(part: str) -> dict[str, str]:
    return {"pattern": f"%{part}%", "phrase": f'"{part}"'}


def _of_run(run: str) -> dict[str, str]:
    """Ask for three trigrams of a telling run, its ends and its middle: three lists to go through, not all.

    Who has them mostly has the run; who does not is left out later.
    """
    trigrams = list(dict.fromkeys(run[start : start + 3] for start in range(len(run) - 2)))
    asked = dict.fromkeys((trigrams[0], trigrams[len(trigrams) // 2], trigrams[-1]))
    return {"phrase": " AND ".join(f'"{trigram}"' for trigram in asked)}


def _phrases(sought: str) -> list[dict[str, str]]:
    """Return what to ask SQLite's index for a needle, that which costs least first."""
    run, whole = telling_run(sought), _of_part(sought[:_LEAD])
    return [whole] if run == sought else [_of_run(run), whole]


def _finds_few(pattern: str) -> bool:
    [plan] = _PLAN.one_or_none({"pattern": pattern}).plan
    return bool(plan["Plan"]["Plan Rows"] <= RARE and _INDEX in str(plan))


def near(first: datetime, last: datetime) -> datetime | None:
    """Return how far to look, in time, for some times as many users as there are between two instants.

    None is as far as there is time.
    """
    try:
        return first + (last - first) * _NEAR
    except OverflowError:
        return None


def next_matches(
    values: Mapping[str, Any], descending: bool, is_all_asked: bool
) -> tuple[dict[str, Any], Position | None]:
    """Return what to ask SQLite's index for the next users, and after where to look on, if there are more.

    They are as many as fill a page, if the search is all that is asked; of a second all, or nobody. What to
    ask has their `numbers`, unless the last one's second may have more: then the index is asked again.
    """
    sought = values["q"]
    if is_all_asked and len(sought) <= _LEAD:
        return _next_matches({**values, **_of_part(sought)}, descending, values["most"])
    for phrase in _phrases(sought):
        asked, end = _next_matches({**values, **phrase}, descending, _SOME)
        if end is None:
            break
    return asked, end


def _next_matches(
    values: dict[str, Any], descending: bool, most: int
) -> tuple[dict[str, Any], Position | None]:
    first, beyond = _numbers(values, descending)
    asked = {**values, "first": first, "beyond": beyond}
    found = _numbers_of(asked, descending, most + _SPARE)
    if len(found) < most + _SPARE:
        return {**asked, "numbers": _json(found)}, None
    last = found[-1] >> _BITS
    whole = [number for number in found if number >> _BITS != last]
    if len(whole) >= most:
        return {**asked, "numbers": _json(whole)}, _past(whole[-1] >> _BITS, descending)
    bound = {"beyond": last + 1 << _BITS} if descending else {"first": last << _BITS}
    return {**asked, **bound}, _past(last, descending)


def _numbers_of(asked: dict[str, Any], descending: bool, most: int) -> list[int]:
    """Return the numbers of the next users whom SQLite's index finds, in the list's order."""
    found = _NUMBERS[descending].one_or_none({**asked, "most": most})
    numbers: list[int] = orjson.loads(found.numbers)
    return sorted(numbers, reverse=not descending)


def _json(numbers: list[int]) -> str:
    return orjson.dumps(numbers).decode()


def _past(place: int, descending: bool) -> Position | None:
    """Return the last position before the next second; None at the ends of time, beyond which nobody is."""
    begin = datetime(1970, 1, 1, tzinfo=UTC) - timedelta(seconds=place)
    try:
        if descending:
            return Position(begin - timedelta(microseconds=1), UUID(int=(1 << 128) - 1))
        return Position(begin + timedelta(seconds=1), UUID(int=0))
    except OverflowError:
        return None


def _numbers(values: Mapping[str, Any], descending: bool) -> tuple[int, int]:
    """Return the first number that the filters by time and the position `after` allow, and one beyond."""
    since, until = ["created_after"], ["created_before"]
    (until if descending else since).append("after_created_at")
    first = (_place(values[name]) << _BITS for name in until if name in values)
    beyond = (_place(values[name]) + 1 << _BITS for name in since if name in values)
    return max(first, default=_LEAST), min(beyond, default=_MOST)


def _place(instant: datetime) -> int:
    """Return what the numbers of an instant's second begin with."""
    return -calendar.timegm(instant.utctimetuple())
