"""What holds for every password: how it is measured, what of it counts, whose names it may not hold."""

import json
import unicodedata
from collections.abc import Callable

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from api.kit.hashing import Hasher
from api.kit.problems import ValidationFailed
from api.users import identifiers
from schemas.users import PASSWORD_MINIMUM
from tests.support.clients import client_of, new_details

_TYPED = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_COMPOSED = st.sampled_from("e\u0301o\u0308\u1112\u1161\u11ab\u0958 \u00a0\u3000\U0001f44d")  # or spaces
_CHOSEN = st.text(_TYPED | _COMPOSED, min_size=8, max_size=16)
_DIGITS = st.text("0123456789 ", max_size=12)
_SPELLINGS = st.sampled_from([str, str.upper, str.title, str.swapcase])
Respell = Callable[[str], str]

few = settings(max_examples=25, deadline=None)
many = settings(max_examples=100, deadline=None)


@pytest.fixture(scope="module")
def hasher(tmp_path_factory: pytest.TempPathFactory) -> Hasher:
    return Hasher(64, 1, tmp_path_factory.mktemp("slots"))


def codes_of(app: Flask, **given: str) -> set[str]:
    """Return the codes with which the service refuses what is given."""
    try:
        with app.app_context():
            identifiers.columns(**given)
    except ValidationFailed as refusal:
        return {error.message.code for error in refusal.errors}
    return set()


def opens(hasher: Hasher, chosen: str, typed: str) -> bool:
    return hasher.verify(hasher.hash(chosen), typed)


def same(one: str, other: str) -> bool:
    """Tell whether two passwords differ by nothing but the form of Unicode and the kind of space."""
    spaced = [["\x20" if unicodedata.category(c) == "Zs" else c for c in text] for text in (one, other)]
    return len({unicodedata.normalize("NFC", "".join(text)) for text in spaced}) == 1


@many
@given(st.text(_COMPOSED, min_size=1, max_size=24) | st.text(_TYPED, min_size=1, max_size=12))
def test_the_least_length_is_counted_in_code_points_once_composed(shared_app: Flask, password: str) -> None:
    is_short = len(unicodedata.normalize("NFC", password)) < PASSWORD_MINIMUM
    assert ("too_short" in codes_of(shared_app, password=password)) == is_short


@few
@given(
    st.text(_TYPED, min_size=8, max_size=12),
    st.sampled_from(["\0", "\ud800", "\udc00", "\udfff\ud800"]),
    st.text(_TYPED, max_size=12),
    st.booleans(),
)
def test_nul_and_lone_surrogates_are_refused_wherever_they_stand(
    shared_app: Flask, before: str, wrong: str, behind: str, signs_up: bool
) -> None:
    password = before + wrong + behind
    sent = new_details(password=password) if signs_up else {"identifier": "mina", "password": password}
    answer = client_of(shared_app).post(
        "/v1/users" if signs_up else "/v1/sessions", data=json.dumps(sent), content_type="application/json"
    )
    assert answer.status_code == 422
    errors = [(error["pointer"], error["code"]) for error in answer.get_json()["errors"]]
    assert errors == [("/password", "invalid_characters")]


@few
@given(_CHOSEN)
def test_a_password_opens_whatever_form_of_unicode_a_keyboard_gives(hasher: Hasher, password: str) -> None:
    decomposed, composed = unicodedata.normalize("NFD", password), unicodedata.normalize("NFC", password)
    assert opens(hasher, decomposed, composed)
    assert opens(hasher, composed, decomposed)


@few
@given(_CHOSEN, st.sampled_from("\ufb01\u2460\u00b2\uff21\u3392\u017f"), _CHOSEN)
def test_a_character_is_not_taken_for_a_compatible_one(
    hasher: Hasher, before: str, compatible: str, behind: str
) -> None:
    chosen = before + compatible + behind
    assert not opens(hasher, chosen, before + unicodedata.normalize("NFKC", compatible) + behind)
    assert not opens(hasher, chosen, unicodedata.normalize("NFKC", chosen))


@many
@given(
    _CHOSEN,
    st.sampled_from([str.swapcase, str.casefold, str.strip, " {}".format, "{}\u3000".format]),
)
def test_case_and_outer_spaces_count(hasher: Hasher, chosen: str, respell: Respell) -> None:
    assert opens(hasher, chosen, respell(chosen)) == same(chosen, respell(chosen))


@few
@given(_DIGITS, st.sampled_from(["tessera", "example"]), _SPELLINGS, _DIGITS)
def test_a_password_may_not_contain_what_the_service_is_called(
    shared_app: Flask, before: str, name: str, respell: Respell, behind: str
) -> None:
    password = f"{before}{respell(name)}{behind}-7-"
    assert codes_of(shared_app, password=password) == {"password_contains_name"}


@few
@given(st.text("bdkmnz", min_size=1, max_size=6), _SPELLINGS, _DIGITS)
def test_a_password_may_contain_a_name_that_is_short(
    shared_app: Flask, name: str, respell: Respell, behind: str
) -> None:
    refused = codes_of(shared_app, password=f"0 {respell(name)} {behind} 271828", username=name)
    assert ("password_contains_name" in refused) == (len(name) >= 4)
