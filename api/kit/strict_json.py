"""The one JSON loader: RFC 8259 without its liberties, and never a RecursionError."""

import json
import re
from typing import Any, NoReturn

from api.kit.problems import MalformedJson
from schemas.messages import Phrase

MAXIMUM_DEPTH = 32
_TOO_DEEP = Phrase("The body nests deeper than {levels} levels.", levels=MAXIMUM_DEPTH)
MAXIMUM_INTEGER = 2**53 - 1  # what every JSON implementation keeps exactly (RFC 7493 section 2.2)

# A string, closed or not, or a bracket outside of one. Linear: no part can match in two ways.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.?)*"?|[\[\]{}]', re.DOTALL)


def loads(body: bytes) -> Any:
    """Return the document that `body` is the UTF-8 text of.

    Raises MalformedJson for what is no JSON, and for what parsers do not agree on: duplicate
    members, NaN and infinities, numbers out of range, a byte order mark, nesting deeper than 32.
    """
    try:
        text = body.decode("utf-8")
        _refuse_deep(text)
        return _DECODER.decode(text)
    except ValueError as error:
        raise MalformedJson() from error


def _refuse_deep(text: str) -> None:
    if text.count("[") + text.count("{") <= MAXIMUM_DEPTH:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > MAXIMUM_DEPTH:
            raise MalformedJson(_TOO_DEEP)


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJson(Phrase("An object in the body has the same member twice."))
    return members


def _integer(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > MAXIMUM_INTEGER:
        raise MalformedJson(Phrase("A number in the body is out of range."))
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise MalformedJson(Phrase("A number in the body is out of range."))
    return number


def _no_constant(name: str) -> NoReturn:
    raise MalformedJson(Phrase("The body has a number that JSON does not know."))


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_members,
    parse_int=_integer,
    parse_float=_float,
    parse_constant=_no_constant,
)
