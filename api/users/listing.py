"""The list of users: what a page costs does not grow with how many there are.

A page comes off an index in the list's order. What that index does not know is looked for on the way, among
so many users at most; then the page ends, however few it has found. A search looks at the first users that
follow, where it soon finds what is common, and goes by an index of trigrams for what is rare; that of SQLite
is in the list's order, so that it does for both (`api/users/searching.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.elements import Grouping

from api.kit import work
from api.kit.db import UtcDateTime, db
from api.kit.pages import Cursors, Order, Page
from api.kit.queries import Query
from api.kit.searching import contains, needle
from api.users import searching
from api.users.identifiers import comparable
from api.users.models import ACTIVE, IS_ACTIVE, LISTED, RoleMember, User
from api.users.searching import BY_TRIGRAMS, FOUND, RARE, SOME_MATCHES, Position
from api.users.service import ROW

WINDOW = 10_000  # users that a page looks at, at most
GLANCE = 1_000  # users among whom a search looks for what is common
SAMPLE = 1_000  # users by whom SQLite estimates
_KEY: tuple[InstrumentedAttribute[Any], ...] = (User.created_at, User.id)
_ORDERS = {"created_at": Order(_KEY, descending=False), "-created_at": Order(_KEY, descending=True)}
_MEMBER_KEY: tuple[InstrumentedAttribute[Any], ...] = (RoleMember.created_at, RoleMember.user_id)
_MEMBER_ORDERS = {
    sort: Order(_MEMBER_KEY, order.descending, names=("created_at", "id")) for sort, order in _ORDERS.items()
}
_UNIQUE = {"email", "username"}
_BOUNDS = {"created_after", "created_before"}
_FILTERS: dict[str, sa.ColumnElement[Any]] = {
    **LISTED,
    ACTIVE: IS_ACTIVE,
    "email": User.email_key == sa.bindparam("email"),
    "username": User.username_key == sa.bindparam("username"),
    "created_after": User.created_at >= sa.bindparam("created_after"),
    "created_before": User.created_at < sa.bindparam("created_before"),
    "last_seen_before": sa.func.coalesce(User.last_seen_at, User.created_at)
    < sa.bindparam("last_seen_before", type_=UtcDateTime()),
    "role": sa.exists().where(RoleMember.role == sa.bindparam("role"), RoleMember.user_id == User.id),
    "q": contains(User.search_text, sa.bindparam("q", type_=sa.Text())),
}
_OF_MEMBERS: dict[str, sa.ColumnElement[Any]] = {
    "role": RoleMember.role == sa.bindparam("role"),
    "created_after": RoleMember.created_at >= sa.bindparam("created_after"),
    "created_before": RoleMember.created_at < sa.bindparam("created_before"),
}
_MEMBERS = sa.select(RoleMember.user_id).where(_OF_MEMBERS["role"])
_SOME_MEMBERS = sa.select(sa.func.count()).select_from(_MEMBERS.limit(sa.bindparam("most")).subquery())
_ROWID = sa.literal_column("users.rowid", sa.Integer())

Rows = Sequence[Any]
Names = frozenset[str]  # of filters, or of the positions `after` and `end` that bound what is looked at
NONE: Names = frozenset()
NEAR: Names = frozenset({"near"})
_IS_NEAR = {  # by whether the order is descending
    True: User.created_at >= sa.bindparam("near"),
    False: User.created_at <= sa.bindparam("near"),
}


def list_page(
    *, limit: int, cursor: str | None, sort: str, count: str, caller: UUID | None = None, **filters: Any
) -> Page:
    """Return a page of the users whom all filters fit; raises ValidationFailed for another list's cursor.

    It may have fewer than `limit`, and even none, although there is a next one.
    """
    cursors = Cursors(_ORDERS[sort], {"caller": str(caller), **filters})
    after = {} if cursor is None else cursors.read(cursor)
    values = _comparable(filters)
    if values is None:
        return Page([], None, None if count == "none" else 0)
    rows, end = _Search(sort, values, after, limit + 1).page()
    if len(rows) > limit:
        end = rows[limit - 1]
    is_all = cursor is None and end is None
    total = None if count == "none" else len(rows) if is_all else _total(count, values, at_least=len(rows))
    return Page(rows[:limit], None if end is None else cursors.to(end), total)


def _comparable(filters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the filters' values as they are compared; None when they fit nobody.

    What has an index of its own is a filter of its own, without a value.
    """
    values = dict(filters)
    for name in _UNIQUE & filters.keys():
        values[name] = comparable(name, filters[name])
    if "q" in filters:
        values["q"] = sought = needle(filters["q"])
        values |= searching.parameters(sought or "")
    if "status" in filters:
        values[filters["status"]] = True
    if "email_verified" in filters:
        values["verified" if filters["email_verified"] else "unverified"] = True
    return None if None in values.values() else values


class _Search:
    """What is asked of the list: from a position on, at most so many rows."""

    def __init__(self, sort: str, values: Mapping[str, Any], after: Mapping[str, Any], most: int) -> None:
        self._sort = sort
        self._names = _names(values)
        self._bounds = frozenset({"after"}) if after else NONE
        self._parameters = {**values, **after, "most": most}

    def page(self) -> tuple[Rows, Any | None]:
        """Return the rows that were found, and after whom to look on when there was more to look at."""
        if self._names & _UNIQUE:
            return _unique(self._names).all(self._parameters), None
        index = _index_of(self._names)
        if index == self._names:
            return _first(self._names, self._sort, self._bounds).all(self._parameters), None
        is_search = "q" in self._names and "role" not in self._names
        if is_search and _backend() == "sqlite":
            return self._next_matches()
        rows, end = self._walk(index, GLANCE)
        if end is None or len(rows) == self._parameters["most"]:
            return rows, end
        if is_search and not self._fills_a_page(rows) and (found := self._rare(index, end)) is not None:
            return found, None
        return self._walk_on(index, rows, end)

    def _next_matches(self) -> tuple[Rows, Position | None]:
        """Look at the next users whom SQLite's index finds."""
        descending, is_all_asked = _ORDERS[self._sort].descending, self._names == {"q"}
        self._parameters, end = searching.next_matches(self._parameters, descending, is_all_asked)
        return self._sorted(), end

    def _fills_a_page(self, rows: Rows) -> bool:
        """Tell whether a walk will, if those who follow are like those at a glance."""
        most: int = self._parameters["most"]
        return len(rows) * WINDOW >= most * GLANCE

    def _rare(self, index: Names, end: Any) -> Rows | None:
        """Return the rows by PostgreSQL's index, if it finds few users; of those near, if they are enough."""
        pattern = searching.rare_pattern(self._parameters["q"])
        if pattern is None:
            return None
        self._parameters["pattern"] = pattern
        near = self._near(index, end)
        return near if len(near) == self._parameters["most"] else self._sorted()

    def _near(self, index: Names, end: Any) -> Rows:
        """Return the rows by PostgreSQL's index of users near those of a glance, which ended there."""
        first = _last(index, self._sort, self._bounds).one_or_none({**self._parameters, "skipped": 0})
        near = first and searching.near(first.created_at, end.created_at)
        if near is None:
            return []
        self._parameters["near"] = near
        return self._sorted(NEAR)

    def _sorted(self, more_bounds: Names = NONE) -> Rows:
        """Return the rows by the index of trigrams, which has to find few users."""
        way = "numbers" if "numbers" in self._parameters else _backend()
        return _rare(self._names, self._sort, self._bounds | more_bounds, way).all(self._parameters)

    def _walk_on(self, index: Names, rows: Rows, end: Any) -> tuple[Rows, Any | None]:
        """Look at those after a glance, at whose end it stopped."""
        self._bounds |= {"after"}
        self._parameters |= _ORDERS[self._sort].position("after", end)
        self._parameters["most"] -= len(rows)
        more, end_of_more = self._walk(index, WINDOW - GLANCE)
        return [*rows, *more], end_of_more

    def _walk(self, index: Names, window: int) -> tuple[Rows, Any | None]:
        """Look at so many of the users that an index has in order.

        Where it ends is found beforehand: whoever goes meanwhile hides nobody who stays.
        """
        last = _last(index, self._sort, self._bounds)
        end = last.one_or_none({**self._parameters, "skipped": window - 1})
        if end is None:
            return _first(self._names, self._sort, self._bounds).all(self._parameters), None
        parameters = self._parameters | _ORDERS[self._sort].position("end", end)
        return _first(self._names, self._sort, self._bounds | {"end"}).all(parameters), end


def _names(values: Mapping[str, Any]) -> Names:
    return frozenset(values.keys() & _FILTERS.keys())


def _index_of(names: Names) -> Names:
    """Return the filters that the best index in the list's order knows."""
    rarest_first = (name for name in ("role", *LISTED) if name in names)
    return names & {next(rarest_first, ""), *_BOUNDS}


# Statements are built once for each set of filters: building one costs more than running it.


def _order(index: Names, sort: str) -> Order:
    return (_MEMBER_ORDERS if "role" in index else _ORDERS)[sort]


def _within(index: Names, sort: str, bounds: Names) -> list[Any]:
    """Return what an index knows of filters and bounds.

    A bound leaves nothing to ask to the filter by time on its side, which could only mislead SQLite.
    """
    order, filters = _order(index, sort), _OF_MEMBERS if "role" in index else _FILTERS
    sides = ("created_before", "created_after") if order.descending else ("created_after", "created_before")
    implied = {side for side, bound in zip(sides, ("after", "end"), strict=True) if bound in bounds}
    fitting: list[Any] = [filters[name] for name in sorted(index - implied)]
    if "after" in bounds:
        fitting.append(order.beyond("after"))
    if "end" in bounds:
        fitting.append(order.up_to("end"))
    return fitting


def _aside(fitting: Iterable[Any]) -> list[Any]:
    """Return what is asked so that no other index is chosen for it: SQLite has no statistics to choose by."""
    return [Grouping(clause).is_(sa.true()) for clause in fitting]


def _filters(names: Names) -> list[Any]:
    return [_FILTERS[name] for name in sorted(names)]


@lru_cache
def _unique(names: Names) -> Query:
    """Return who has an identifier, if all the rest fits as well."""
    return Query(sa.select(*ROW).where(*_filters(names & _UNIQUE), *_aside(_filters(names - _UNIQUE))))


@lru_cache
def _first(names: Names, sort: str, bounds: Names) -> Query:
    """Return the first users within the bounds whom all fits."""
    index = _index_of(names)
    fitting = [*_within(index, sort, bounds), *_aside(_filters(names - index))]
    found = sa.select(*ROW).where(*fitting).order_by(*_order(index, sort).by).limit(sa.bindparam("most"))
    return Query(found.join(RoleMember, RoleMember.user_id == User.id) if "role" in index else found)


@lru_cache
def _last(index: Names, sort: str, bounds: Names) -> Query:
    """Return the position of the last user to look at."""
    order = _order(index, sort)
    place = [column.label(name) for column, name in zip(order.key, ("created_at", "id"), strict=True)]
    walked = sa.select(*place).where(*_within(index, sort, bounds)).order_by(*order.by)
    return Query(walked.limit(1).offset(sa.bindparam("skipped")))


@lru_cache
def _rare(names: Names, sort: str, bounds: Names, way: str) -> Query:
    """Return the first users within the bounds whom all fits, found by trigrams and sorted."""
    others = _aside(_within(names, sort, bounds))
    if bounds >= NEAR:
        others.append(_IS_NEAR[_ORDERS[sort].descending])
    # The offset of nothing keeps the databases from walking along the order until they have found enough.
    found = sa.select(*_KEY).where(FOUND[way], *others).offset(0).subquery()
    order = [column.desc() if _ORDERS[sort].descending else column.asc() for column in found.c]
    first = sa.select(found.c.id).order_by(*order).limit(sa.bindparam("most"))
    return Query(sa.select(*ROW).where(User.id.in_(first)).order_by(*_ORDERS[sort].by))


# How many there are


def _total(count: str, values: Mapping[str, Any], at_least: int) -> int:
    """Return how many users all filters fit, whatever the page."""
    names, by_trigrams = _names(values), [BY_TRIGRAMS[_backend()]] * ("q" in values)
    if count == "exact":
        fitting = [*by_trigrams, *_filters(names)]
        return _number(sa.select(sa.func.count()).select_from(User).where(*fitting), values)
    if _backend() == "postgresql":
        plan = work.planned(sa.select(User.id).where(*by_trigrams, *_filters(names - {"q"})), values)
        return max(at_least, int(plan["Plan Rows"]))
    return max(at_least, _estimated_by_sqlite(values))


def _estimated_by_sqlite(values: Mapping[str, Any]) -> int:
    """Estimate from users taken at even distances; whom a search alone finds are counted if they are few."""
    names = _names(values)
    if names in ({"q"}, {"role"}):
        found = _number(SOME_MATCHES if "q" in names else _SOME_MEMBERS, _some(values))
        if found <= RARE:
            return found
    newest = _number(sa.select(sa.func.coalesce(sa.func.max(_ROWID), 0)).select_from(User), {})
    distance = max(1, newest // SAMPLE)
    places = range(1, newest + 1, distance)
    fitting = [_ROWID.in_(places), *_aside(_filters(names))]
    return _number(sa.select(sa.func.count()).select_from(User).where(*fitting), values) * distance


def _number(statement: sa.Select[Any], values: Mapping[str, Any]) -> int:
    [[number]] = work.read_all(statement, values)
    return int(number)


def _some(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "most": RARE + 1}


def _backend() -> str:
    return str(db.engine.dialect.name)
