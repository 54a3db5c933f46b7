"""Lists, a page at a time: by position in an order, never by counting rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson
import sqlalchemy as sa
from flask import request
from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy.orm import InstrumentedAttribute

from api.kit import encoding
from api.kit.config import PUBLIC_URL
from api.kit.db import db
from api.kit.problems import FieldError, ValidationFailed
from api.kit.service import service, setting
from schemas.messages import Message

_READ: dict[type, Callable[[str], Any]] = {
    datetime: datetime.fromisoformat,
    UUID: UUID,
    str: str,
    int: int,
}
INVALID_CURSOR = FieldError(Message("invalid_cursor", "Is not a cursor of this list."), parameter="cursor")


@dataclass(frozen=True)
class Page:
    """Some items of a list, and where the next ones begin (None after the last).

    `total` is how many the whole list has, where that was asked for.
    """

    items: Sequence[Any]
    next_cursor: str | None
    total: int | None = None

    def link(self) -> dict[str, str]:
        """Return the Link header to the next page (RFC 8288), or no header."""
        if self.next_cursor is None:
            return {}
        query = urlencode(request.args.to_dict() | {"cursor": self.next_cursor})
        return {"Link": f'<{setting(PUBLIC_URL)}{request.path}?{query}>; rel="next"'}


@dataclass(frozen=True)
class Order:
    """The order of a list: by columns with an index, unique together.

    A position in it is a value for each column. In statements it is parameters, so that they can be built
    once: those of the position `after` are `after_created_at`, `after_id`. `names` are what the columns are
    called there, if not what they are called in their table.
    """

    key: tuple[InstrumentedAttribute[Any], ...]
    descending: bool
    names: tuple[str, ...] = ()

    @property
    def by(self) -> list[sa.ColumnElement[Any]]:
        """What a statement is ordered by."""
        return [column.desc() if self.descending else column.asc() for column in self.key]

    def beyond(self, name: str) -> sa.ColumnElement[bool]:
        """Return what holds for all that comes later than a position."""
        here, position = sa.tuple_(*self.key), self._parameters(name)
        return here < position if self.descending else here > position

    def up_to(self, name: str) -> sa.ColumnElement[bool]:
        """Return what holds for all that does not come later than a position."""
        here, position = sa.tuple_(*self.key), self._parameters(name)
        return here >= position if self.descending else here <= position

    @cached_property
    def columns(self) -> list[str]:
        """The columns' names with those of their tables."""
        return [str(column) for column in self.key]

    @cached_property
    def readers(self) -> list[tuple[str, Callable[[str], Any]]]:
        """The parameters of the position `after`, and what reads each from a text."""
        return [(f"after_{column.key}", _READ[column.type.python_type]) for column in self.key]

    def position(self, name: str, row: Any) -> dict[str, Any]:
        """Return the parameters of a row's position."""
        return {f"{name}_{column.key}": getattr(row, column.key) for column in self.key}

    def _parameters(self, name: str) -> sa.Tuple:
        names = self.names or [column.key for column in self.key]
        pairs = zip(names, self.key, strict=True)
        return sa.tuple_(*(sa.bindparam(f"{name}_{own}", type_=column.type) for own, column in pairs))


class Cursors:
    """The cursors of one list: good for its order and its filters only."""

    def __init__(self, order: Order, filters: Mapping[str, Any]) -> None:
        self._order = order
        binding = {"key": order.columns, "down": order.descending, **filters}
        self._signer = _signer(binding)

    def to(self, row: Any) -> str:
        """Return the cursor of what comes after a row."""
        return str(self._signer.dumps([str(getattr(row, column.key)) for column in self._order.key]))

    def read(self, cursor: str) -> dict[str, Any]:
        """Return the parameters of the position `after` that a cursor holds; raises ValidationFailed."""
        try:
            for part in cursor.split("."):
                encoding.decode(part)  # a part with a second spelling is refused
            texts = self._signer.loads(cursor)
        except (BadData, ValueError) as error:
            raise ValidationFailed([INVALID_CURSOR]) from error
        return {name: read(text) for (name, read), text in zip(self._order.readers, texts, strict=True)}


def page(
    query: sa.Select[Any],
    order: Order,
    *,
    limit: int,
    cursor: str | None,
    filters: Mapping[str, Any] | None = None,
) -> Page:
    """Return the `limit` rows after `cursor` in an order.

    A cursor is good for the list it came from only: the same order and `filters`. Raises ValidationFailed
    for any other.
    """
    cursors = Cursors(order, filters or {})
    if cursor is not None:
        query = query.where(order.beyond("after")).params(cursors.read(cursor))
    rows = db.session.scalars(query.order_by(*order.by).limit(limit + 1)).all()
    items = rows[:limit]
    return Page(items, cursors.to(items[-1]) if len(rows) > limit else None)


class _Serializer(URLSafeSerializer):
    """One that compresses nothing: a position is short."""

    def dump_payload(self, obj: Any) -> bytes:
        return encoding.encode(orjson.dumps(obj)).encode()


def _signer(binding: Mapping[str, Any]) -> URLSafeSerializer:
    """Return the signer of one list's cursors: its salt is what the list depends on."""
    salt = sha256(orjson.dumps(binding, option=orjson.OPT_SORT_KEYS)).digest()
    keys = list(reversed(service().keys("cursor")))  # itsdangerous signs with the last one
    return _Serializer(keys, salt=salt, signer_kwargs={"digest_method": sha256, "key_derivation": "hmac"})
