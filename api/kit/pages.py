"""Lists, a page at a time: by position in an order, never by counting rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
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

_READ: dict[type, Callable[[str], Any]] = {datetime: datetime.fromisoformat, UUID: UUID, str: str}
INVALID_CURSOR = FieldError("invalid_cursor", "Is not a cursor of this list.", parameter="cursor")


@dataclass(frozen=True)
class Page:
    """Some items of a list, and where the next ones begin (None after the last)."""

    items: Sequence[Any]
    next_cursor: str | None

    def link(self) -> dict[str, str]:
        """Return the Link header to the next page (RFC 8288), or no header."""
        if self.next_cursor is None:
            return {}
        query = urlencode(request.args.to_dict() | {"cursor": self.next_cursor})
        return {"Link": f'<{setting(PUBLIC_URL)}{request.path}?{query}>; rel="next"'}


def page(
    query: sa.Select[Any],
    key: Sequence[InstrumentedAttribute[Any]],
    *,
    descending: bool,
    limit: int,
    cursor: str | None,
    filters: Mapping[str, Any] | None = None,
) -> Page:
    """Return the `limit` rows after `cursor` in the order of `key`: columns with an index, unique together.

    A cursor is good for the list it came from only: the same key, direction and `filters`.
    Raises ValidationFailed for any other.
    """
    signer = _signer({"key": [str(column) for column in key], "down": descending, **(filters or {})})
    if cursor is not None:
        here, position = sa.tuple_(*key), sa.tuple_(*_position(signer, cursor, key))
        query = query.where(here < position if descending else here > position)
    order = [column.desc() if descending else column.asc() for column in key]
    rows = db.session.scalars(query.order_by(*order).limit(limit + 1)).all()
    items = rows[:limit]
    return Page(items, _cursor(signer, items[-1], key) if len(rows) > limit else None)


def _cursor(signer: URLSafeSerializer, row: Any, key: Sequence[InstrumentedAttribute[Any]]) -> str:
    return str(signer.dumps([str(getattr(row, column.key)) for column in key]))


def _position(
    signer: URLSafeSerializer, cursor: str, key: Sequence[InstrumentedAttribute[Any]]
) -> list[sa.BindParameter[Any]]:
    try:
        for part in cursor.split("."):
            encoding.decode(part)  # a part with a second spelling is refused
        texts = signer.loads(cursor)
    except (BadData, ValueError) as error:
        raise ValidationFailed([INVALID_CURSOR]) from error
    values = (_READ[column.type.python_type](text) for column, text in zip(key, texts, strict=True))
    return [sa.bindparam(None, value, column.type) for column, value in zip(key, values, strict=True)]


def _signer(binding: Mapping[str, Any]) -> URLSafeSerializer:
    """Return the signer of one list's cursors: its salt is what the list depends on."""
    salt = sha256(orjson.dumps(binding, option=orjson.OPT_SORT_KEYS)).digest()
    keys = list(reversed(service().keys("cursor")))  # itsdangerous signs with the last one
    return URLSafeSerializer(
        keys, salt=salt, signer_kwargs={"digest_method": sha256, "key_derivation": "hmac"}
    )
