"""Texts in the form in which they are searched."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.kit.searching import _UNSEEN, folded, needle, searchable, telling_part, telling_run


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Zoë Łukasz Søren", "zoe lukasz soren"),
        ("Nguyễn Văn Đức", "nguyen van duc"),
        ("STRASSE straße", "strasse strasse"),
        ("İstanbul ISTANBUL \u0131stanbul", "istanbul istanbul istanbul"),
        ("ΣΊΣΥΦΟΣ", "σισυφοσ"),
        ("Ёлка", "елка"),
        ("\uff2d\uff29\uff2e\uff21 ｶﾞ", "mina ガ"),
        ("ﬁne ½", "fine 1\u20442"),
        ("김민수", "김민수"),
        (unicodedata.normalize("NFD", "김민수"), "김민수"),
        ("がか", "がか"),
        ("हिन्दी", "हिन्दी"),
        ("ไม่", "ไม่"),
        ("أحمد مُحَمَّد", "احمد محمد"),
        ("שָׁלוֹם", "שלום"),
        ("so\u00adft zero\u200bwidth", "soft zerowidth"),
    ],
)
def test_a_text_is_folded(text: str, expected: str) -> None:
    assert folded(text) == expected


def test_every_character_is_found_by_its_other_case() -> None:
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)) in ("Cn", "Co", "Cs"):
            continue  # no character
        character = chr(code)
        assert folded(character.lower()) == folded(character.upper()) == folded(character), hex(code)


@given(st.text())
def test_what_is_folded_stays(text: str) -> None:
    assert folded(folded(text)) == folded(text)


@given(st.text(), st.text())
def test_a_text_is_found_by_itself_among_others(text: str, other: str) -> None:
    sought = needle(text)
    assert sought is None or sought in searchable([other, text])


@pytest.mark.parametrize("text", ["", " ", "\u200b", "\u0301", " \u00ad "])
def test_of_nothing_there_is_nothing_to_look_for(text: str) -> None:
    assert needle(text) is None


@given(st.text())
def test_nothing_to_look_for_has_a_meaning_to_a_database(text: str) -> None:
    assert not set('%_\\"') & set(needle(text) or "")


def test_what_is_not_seen_is_left_out_and_nothing_else() -> None:
    """Those that a later Unicode has, and this Python does not know yet (Cn), are left out as well."""
    kinds = {c: unicodedata.category(c) for c in map(chr, range(sys.maxunicode + 1))}
    unseen = {c for c, kind in kinds.items() if kind == "Cf"}
    assert {c for c in unseen if folded(c)} == set()
    assert {kinds[c] for c in kinds if _UNSEEN.match(c)} <= {"Cf", "Cn"}


def test_nobody_is_found_by_two_texts_taken_together() -> None:
    sought = needle("mina kim")
    assert sought is not None
    assert sought in searchable(["mina kim"])
    assert sought not in searchable(["mina", "kim@example.com"])


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("mail.750000@example.com", ".75000"),
        ("mail.7500", ".7500"),
        ("mina.smith", "na.sm"),
        ("o'brien", "o'bri"),
        ("garcia", "garcia"),
        ("김민수", "김민수"),
        ("a1", "a1"),
        ("ana 1 garcia", "ana 1 garcia"),
    ],
)
def test_of_five_digits_and_marks_there_are_few(text: str, part: str) -> None:
    assert telling_part(needle(text) or "") == needle(part)


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("mail.750000@example.com", ".750000@"),
        ("me.75@example.com", "e.75@"),
        ("2026-11-30", "2026-11-30"),
        ("mina7501@example.com", "7501@"),
        ("mina750@example.com", "a750@"),
        ("mina.smith@example.com", "na.sm"),
        ("mina75", "ina75"),
        ("garcia", "garcia"),
    ],
)
def test_of_all_digits_and_marks_in_a_row_there_are_fewest(text: str, run: str) -> None:
    assert telling_run(needle(text) or "") == needle(run)
