"""Answers are written as marshmallow would write them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import orjson
import pytest
from marshmallow import Schema, fields

from api.kit.http import encoded
from schemas.base import Answer, Boolean, Id, Integer, JsonObject, Text, Timestamp, list_of

INSTANT = datetime(2026, 11, 23, 9, 30, tzinfo=timezone(timedelta(hours=9)))


class Part(Answer):
    """A part."""

    at = Timestamp(allow_none=True)
    name = Text(maximum=80, data_key="called", attribute="label")


class Whole(Answer):
    """Every kind of field."""

    id = Id()
    text = Text(maximum=80, allow_none=True)
    number = Integer(0, 9)
    flag = Boolean()
    free = JsonObject(100)
    named = fields.Dict(keys=fields.String())
    at = Timestamp()
    tags = list_of(Text(maximum=9), 9)
    times = list_of(Timestamp(), 9, allow_none=True)
    part = fields.Nested(Part, allow_none=True)
    parts = list_of(fields.Nested(Part), 9)


PART = {"at": None, "label": "a"}
VALUES: dict[str, Any] = {
    "id": UUID(int=7),
    "text": None,
    "number": 3,
    "flag": False,
    "free": {"a": [1, None]},
    "named": {"b": 2},
    "at": INSTANT,
    "tags": ["x"],
    "times": [INSTANT],
    "part": PART,
    "parts": [PART, {"at": INSTANT.astimezone(UTC), "label": "b"}],
}


@pytest.mark.parametrize("kind", [dict, lambda values: SimpleNamespace(**values)], ids=["mapping", "object"])
@pytest.mark.parametrize(
    "change", [{}, {"part": None, "times": None, "text": "a"}, {"tags": [], "parts": []}]
)
def test_an_answer_is_what_marshmallow_makes_of_it(
    kind: Callable[[dict[str, Any]], Any], change: dict[str, Any]
) -> None:
    value = kind(VALUES | change)
    written = Whole().dump(value)
    written["id"] = str(written["id"])  # the encoder writes it
    assert written == Schema.dump(Whole(), value)
    assert list(written) == list(Whole().dump_fields)


@pytest.mark.parametrize("microsecond", [0, 1, 120_000, 999_999])
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=9))])
@pytest.mark.parametrize("year", [1, 999, 2026, 9999])
def test_an_instant_is_always_written_the_same_way(year: int, zone: timezone, microsecond: int) -> None:
    at = datetime(year, 11, 3, 9, 5, 7, microsecond, tzinfo=zone)
    instant = at.astimezone(UTC)
    text = f"{instant:%Y}".zfill(4) + f"-11-03T{instant:%H:%M:%S}.{microsecond:06}Z"
    assert encoded(Part().dump({"at": at, "label": "a"})) == orjson.dumps({"at": text, "called": "a"})


def test_a_member_that_is_missing_is_a_fault_and_not_left_out() -> None:
    with pytest.raises(KeyError):
        Part().dump({"at": None})
    with pytest.raises(AttributeError):
        Part().dump(SimpleNamespace(at=None))
