"""Skeletons: one for texts that look alike, two for texts that people tell apart."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.kit.look_alikes import skeleton

_SCRIPTS = st.characters(exclude_categories=["Cs"]) | st.characters(min_codepoint=0x370, max_codepoint=0x58F)
_TEXTS = st.text(_SCRIPTS, max_size=12)
_ASCII = st.text(st.characters(max_codepoint=127), max_size=12)


@pytest.mark.parametrize(
    ("text", "like"),
    [
        ("\u0440\u0430ypal", "paypal"),
        ("\u0420\u0410Y\u0420\u0410L", "paypal"),
        ("\u0430\u0440\u0440\u04cf\u0435", "apple"),  # the apple.com of 2017, all of it Cyrillic
        ("\u03bfr\u03b1cle", "oracle"),
        ("g\u0585\u0585gle", "google"),
        ("\u041cINA", "mina"),  # the small letter does not look like an m
        ("\u039dINA", "nina"),  # nor this like an n
        ("\u0406van", "ivan"),
        ("m\u0131ke", "mike"),
        ("mi\u0307na", "mina"),
        ("\u0130stanbul", "istanbul"),
        ("\uff2d\uff49\uff4e\uff41", "mina"),
        ("zo\u0451", "zo\u00eb"),
        ("zo\u0435\u0308", "zo\u00eb"),
        ("mina\ua4f8kim", "mina.kim"),
        ("\u00e6sop", "aesop"),
    ],
    ids=ascii,
)
def test_what_looks_alike_has_one_skeleton(text: str, like: str) -> None:
    assert skeleton(text) == like == skeleton(like)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mina1", "minal"),
        ("zo0", "zoo"),
        ("rnina", "mina"),
        ("zoe", "zo\u00eb"),
        ("stra\u00dfe", "strasse"),
        ("\u043a\u043e\u0442", "kot"),
        ("\ubbf8\ub098", "\ubbfc\uc544"),
        ("\u7f8e\u5948", "\u7f8e\u83dc"),
    ],
    ids=ascii,
)
def test_what_people_tell_apart_has_two(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


@settings(max_examples=200)
@given(_ASCII)
def test_ascii_is_its_own_skeleton(text: str) -> None:
    assert skeleton(text) == text.lower()


@settings(max_examples=200)
@given(_TEXTS)
def test_a_skeleton_is_its_own_skeleton(text: str) -> None:
    assert skeleton(skeleton(text)) == skeleton(text)


@settings(max_examples=200)
@given(_TEXTS)
def test_the_form_of_unicode_makes_no_difference(text: str) -> None:
    forms = {unicodedata.normalize(form, text) for form in ("NFC", "NFD")}
    assert {skeleton(form) for form in forms} == {skeleton(text)}


_CYRILLIC = dict(
    zip(
        "acehijopsxyvw",
        "\u0430\u0441\u0435\u04bb\u0456\u0458\u043e\u0440\u0455\u0445\u0443\u0475\u051d",
        strict=True,
    )
)


@settings(max_examples=200)
@given(st.text(list(_CYRILLIC), min_size=1, max_size=12), st.data())
def test_a_latin_name_is_seen_through_cyrillic_letters(name: str, data: st.DataObject) -> None:
    places = data.draw(st.sets(st.integers(0, len(name) - 1)))
    disguised = "".join(_CYRILLIC[c] if n in places else c for n, c in enumerate(name))
    assert skeleton(disguised) == skeleton(disguised.upper()) == name
