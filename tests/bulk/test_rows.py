"""What is quick about reading rows changes nothing of what comes of them."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from api.bulk import records, rows
from api.kit import strict_json
from api.kit.problems import MalformedJson

TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["", "a", "x" * 300, "en", "ko-KR", "a\nb", "\ud800", "2026-11-22T09:30:00.000000Z"]),
    st.sampled_from(
        ["2026-02-30T00:00:00.000000Z", "0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10", "active", "deleted"]
    ),
    st.from_regex(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z", fullmatch=True),
)
VALUES = st.one_of(
    TEXTS, st.booleans(), st.integers(), st.floats(allow_nan=False), st.lists(TEXTS, max_size=3)
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=3)


def _of(read: Any, *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except ValidationError as error:
        return error.messages


@given(st.sampled_from(sorted(rows.MEMBERS)), st.one_of(VALUES, OBJECTS))
def test_a_member_is_read_as_its_field_reads_it(name: str, value: Any) -> None:
    assert _of(rows._loaded, name, value) == _of(rows._FIELDS[name].deserialize, value)


LINES = st.one_of(
    st.builds(json.dumps, st.dictionaries(TEXTS, st.one_of(VALUES, OBJECTS), max_size=4)),
    st.builds(
        json.dumps,
        st.dictionaries(TEXTS, st.one_of(VALUES, OBJECTS), max_size=4),
        ensure_ascii=st.just(False),
    ),
    st.lists(
        st.sampled_from(
            ['"a"', ":", ",", "{", "}", "[", "]", " ", "1", "1e999", "9007199254740993", '"\\":"', "null"]
        )
    ).map("".join),
    st.lists(
        st.builds(
            "{}{}{}".format, st.sampled_from(['"a"', '"b"']), st.sampled_from([":", " :"]), st.just("1")
        )
    ).map(lambda members: "{" + ",".join(members) + "}"),
)


@given(LINES)
def test_a_line_is_read_as_any_other_json(line: str) -> None:
    text = line.encode("utf-8", "replace")
    assert _json(records._loads, text) == _json(strict_json.loads, text)


def _json(read: Any, text: bytes) -> Any:
    """Return what is read, or None for what is no JSON, or has lone surrogates: no row with any is good."""
    try:
        value = read(text)
    except (ValueError, MalformedJson):
        return None
    return None if _has_surrogates(value) else value


def _has_surrogates(value: Any) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in json.dumps(value, ensure_ascii=False))
