"""The quick way of plain identifiers gives what the long one does."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.users import identifiers
from tests.support import databases

pytestmark = databases.ON_SQLITE

NEVER = re.compile("(?!)")
ASCII = st.text(st.characters(max_codepoint=127), max_size=90)
LOCAL = st.one_of(
    st.from_regex(r"[a-z0-9._+-]{1,70}", fullmatch=True), st.from_regex(r"[a-z0-9]{60,70}", fullmatch=True)
)
LABEL = st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True)
TOP = st.one_of(
    LABEL, st.sampled_from(["com", "test", "local", "localhost", "invalid", "onion", "arpa", "xn--p1ai", "1"])
)
EMAIL = st.builds(
    lambda local, labels, top: f"{local}@{'.'.join([*labels, top])}", LOCAL, st.lists(LABEL, max_size=16), TOP
)


def _seen(name: str, value: str) -> object:
    try:
        return identifiers._NORMALISE[name](value)
    except identifiers.Unfit as unfit:
        return unfit.message.code


@pytest.fixture(scope="module")
def long_way() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def _by_the_long_way(long_way: pytest.MonkeyPatch, name: str, value: str) -> object:
    with long_way.context() as patch:
        patch.setattr(identifiers, "_PLAIN_USERNAME", NEVER)
        patch.setattr(identifiers, "_SIMPLE_USERNAME", NEVER)
        patch.setattr(identifiers, "_PLAIN_EMAIL", NEVER)
        return _seen(name, value)


@given(ASCII)
def test_a_username(long_way: pytest.MonkeyPatch, username: str) -> None:
    assert _seen("username", username) == _by_the_long_way(long_way, "username", username)


@given(st.text(st.characters(max_codepoint=0xFFFF), max_size=90))
def test_a_username_of_many_scripts(long_way: pytest.MonkeyPatch, username: str) -> None:
    assert _seen("username", username) == _by_the_long_way(long_way, "username", username)


@given(
    st.text(
        st.sampled_from("aZ1._-\u00c4\u00ef\u0416\u0451\u0430\ud55c\ua0ae\u3042\u4e2d\u200d\u0301"),
        max_size=45,
    )
)
def test_a_username_of_simple_letters(long_way: pytest.MonkeyPatch, username: str) -> None:
    assert _seen("username", username) == _by_the_long_way(long_way, "username", username)


def test_every_simple_letter_as_a_username(long_way: pytest.MonkeyPatch) -> None:
    simple = [c for c in map(chr, range(0x80, 0xD800)) if identifiers._SIMPLE_USERNAME.fullmatch(c)]
    assert len(simple) > 30_000
    for first in range(0, len(simple), 20):
        username = "".join(simple[first : first + 20])
        assert _seen("username", username) == _by_the_long_way(long_way, "username", username)


def test_every_single_character_as_a_username(long_way: pytest.MonkeyPatch) -> None:
    for code in range(128):
        for username in (chr(code), f"a{chr(code)}", f"{chr(code)}a" * 40):
            assert _seen("username", username) == _by_the_long_way(long_way, "username", username)


@given(EMAIL)
@example("postmaster@example.com")
@example(f"{'a' * 64}@example.com")
@example(f"{'a' * 65}@example.com")
@example(f"{'a' * 40}.{'b' * 40}@example.com")
def test_an_address(long_way: pytest.MonkeyPatch, email: str) -> None:
    assert _seen("email", email) == _by_the_long_way(long_way, "email", email)


@given(st.builds(lambda a, b: f"{a}@{b}", ASCII, ASCII))
def test_what_may_be_no_address(long_way: pytest.MonkeyPatch, email: str) -> None:
    assert _seen("email", email) == _by_the_long_way(long_way, "email", email)


def test_plain_ones_take_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    _seen("email", "first@example.com")
    for slow in ("_any_email", "_USERNAME"):
        monkeypatch.delattr(identifiers, slow)
    assert _seen("email", "mina.kim+news@example.com") == {
        "email": "mina.kim+news@example.com",
        "email_key": "mina.kim+news@example.com",
    }
    assert _seen("username", "Mina.Kim") == {
        "username": "Mina.Kim",
        "username_key": "mina.kim",
        "username_skeleton": "mina.kim",
    }
