"""The JSON loader takes what RFC 8259 allows and every parser agrees on, and refuses all else."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.kit import strict_json
from api.kit.problems import MalformedJson

BODY_LIMIT = 65536  # bytes: the longest body that reaches the loader
LARGEST = 2**53 - 1

# After the n_ files of nst/JSONTestSuite, and what its i_ files leave open.
INVALID: dict[str, bytes] = {
    "empty": b"",
    "single_space": b" ",
    "only_newlines": b"\n\r\n",
    "array_1_true_without_comma": b"[1 true]",
    "array_colon_instead_of_comma": b'["": 1]',
    "array_comma_after_close": b'[""],',
    "array_comma_and_number": b"[,1]",
    "array_double_comma": b"[1,,2]",
    "array_double_extra_comma": b'["x",,]',
    "array_extra_close": b'["x"]]',
    "array_extra_comma": b'["",]',
    "array_incomplete": b'["x"',
    "array_incomplete_invalid_value": b"[x",
    "array_inner_array_no_comma": b"[3[4]]",
    "array_items_separated_by_semicolon": b"[1;2]",
    "array_just_comma": b"[,]",
    "array_just_minus": b"[-]",
    "array_missing_value": b'[   , ""]',
    "array_newlines_unclosed": b'["a",\n4\n,1,',
    "array_number_and_comma": b"[1,]",
    "array_spaces_vertical_tab": b'["\x0ba"\\f]',
    "array_star_inside": b"[*]",
    "array_unclosed": b'[""',
    "array_unclosed_trailing_comma": b"[1,",
    "array_unclosed_with_object_inside": b"[{}",
    "array_close_unopened": b"1]",
    "array_with_extra_array": b"[][]",
    "array_closed_as_object": b"[}",
    "incomplete_false": b"[fals]",
    "incomplete_null": b"[nul]",
    "incomplete_true": b"[tru]",
    "capitalised_true": b"[True]",
    "capitalised_null": b"NULL",
    "undefined": b"undefined",
    "number_plus_plus": b"[++1234]",
    "number_plus_1": b"[+1]",
    "number_plus_inf": b"[+Inf]",
    "number_minus_01": b"[-01]",
    "number_minus_1_0_dot": b"[-1.0.]",
    "number_minus_2_dot": b"[-2.]",
    "number_minus_foo": b"[-foo]",
    "number_minus_space_1": b"[- 1]",
    "number_dot_minus_1": b"[.-1]",
    "number_dot_2e_minus_3": b"[.2e-3]",
    "number_0_1_2": b"[0.1.2]",
    "number_0_3e": b"[0.3e]",
    "number_0_3e_plus": b"[0.3e+]",
    "number_0_capital_e": b"[0E]",
    "number_0_dot_e1": b"[0.e1]",
    "number_1_0e_minus": b"[1.0e-]",
    "number_1_000_with_space": b"[1 000.0]",
    "number_1e_upper_e2": b"[1eE2]",
    "number_2_dot_e3": b"[2.e3]",
    "number_9_e_plus": b"[9.e+]",
    "number_double_minus": b"[--1]",
    "number_expression": b"[1+2]",
    "number_hex_1": b"[0x1]",
    "number_hex_42": b"[0x42]",
    "number_octal": b"[0o17]",
    "number_underscore": b"[1_000]",
    "number_inf": b"[Inf]",
    "number_infinity": b"[Infinity]",
    "number_minus_infinity": b"[-Infinity]",
    "number_nan": b"[NaN]",
    "number_minus_nan": b"[-NaN]",
    "number_nan_top_level": b"NaN",
    "number_infinity_member": b'{"a": Infinity}',
    "number_u_ff11_fullwidth_digit_one": b"[\xef\xbc\x91]",
    "number_arabic_digit": b"[\xd9\xa1]",
    "number_digit_then_fullwidth_digit": b"[1\xef\xbc\x91]",
    "number_leading_zero": b"[012]",
    "number_double_zero": b"00",
    "number_negative_real_without_int_part": b"[-.123]",
    "number_real_without_fractional_part": b"[1.]",
    "number_starting_with_dot": b"[.123]",
    "number_with_alpha": b"[1.2a-3]",
    "number_then_00": b"1\x00",
    "object_bad_value": b'["x", truth]',
    "object_bracket_key": b'{[: "x"}',
    "object_comma_instead_of_colon": b'{"x", null}',
    "object_double_colon": b'{"x"::"b"}',
    "object_emoji": b"{\xf0\x9f\x87\xa8\xf0\x9f\x87\xad}",
    "object_garbage_at_end": b'{"a":"a" 123}',
    "object_key_with_single_quotes": b"{key: 'value'}",
    "object_missing_colon": b'{"a" b}',
    "object_missing_key": b'{:"b"}',
    "object_missing_semicolon": b'{"a" "b"}',
    "object_missing_value": b'{"a":',
    "object_no_colon": b'{"a"',
    "object_non_string_key": b"{1:1}",
    "object_null_key": b"{null:null}",
    "object_lone_continuation_byte_in_key": b'{"\xb9":"0",}',
    "object_repeated_null_null": b"{null:null,null:null}",
    "object_several_trailing_commas": b'{"id":0,,,,,}',
    "object_single_quote": b"{'a':0}",
    "object_trailing_comma": b'{"id":0,}',
    "object_trailing_comment": b'{"a":"b"}/**/',
    "object_trailing_comment_slash": b'{"a":"b"}//',
    "object_two_commas_in_a_row": b'{"a":"b",,"c":"d"}',
    "object_unquoted_key": b'{a: "b"}',
    "object_unterminated_value": b'{"a":"a',
    "object_with_single_string": b'{ "foo" : "bar", "a" }',
    "object_with_trailing_garbage": b'{"a":"b"}#',
    "object_unclosed": b"{",
    "object_closed_as_array": b'{"a":1]',
    "string_1_surrogate_then_escape_u": b'["\\uD800\\u"]',
    "string_1_surrogate_then_escape_u1": b'["\\uD800\\u1"]',
    "string_accentuated_char_no_quotes": b"[\xc3\xa9]",
    "string_backslash_00": b'["\\\x00"]',
    "string_escape_x": b'["\\x00"]',
    "string_escaped_backslash_bad": b'["\\\\\\"]',
    "string_escaped_tab": b'["\\\t"]',
    "string_escaped_emoji": b'["\\\xf0\x9f\x8c\x80"]',
    "string_incomplete_escape": b'["\\"]',
    "string_incomplete_escaped_character": b'["\\u00A"]',
    "string_incomplete_surrogate": b'["\\uD834\\uDd"]',
    "string_invalid_backslash_esc": b'["\\a"]',
    "string_invalid_unicode_escape": b'["\\uqqqq"]',
    "string_signed_unicode_escape": b'["\\u+123"]',
    "string_spaced_unicode_escape": b'["\\u 123"]',
    "string_prefixed_unicode_escape": b'["\\u0x1F"]',
    "string_leading_u_escaped_thin_space": b'[\\u0020"asd"]',
    "string_no_quotes_with_bad_escape": b"[\\n]",
    "string_single_doublequote": b'"',
    "string_single_quote": b"['single quote']",
    "string_single_string_no_double_quotes": b"abc",
    "string_start_escape_unclosed": b'["\\',
    "string_unescaped_ctrl_char": b'["a\x00a"]',
    "string_unescaped_newline": b'["new\nline"]',
    "string_unescaped_tab": b'["\t"]',
    "string_unescaped_unit_separator": b'["\x1f"]',
    "string_with_trailing_garbage": b'""x',
    "string_invalid_utf8_byte": b'["\xff"]',
    "string_invalid_utf8_truncated": b'["\xe0\xff"]',
    "string_iso_latin_1": b'["\xe9"]',
    "string_overlong_two_bytes": b'["\xc0\xaf"]',
    "string_overlong_six_bytes": b'["\xfc\x83\xbf\xbf\xbf\xbf"]',
    "string_beyond_unicode": b'["\xf4\x90\x80\x80"]',
    "string_surrogate_in_utf8": b'["\xed\xa0\x80"]',
    "structure_angle_bracket_dot": b"<.>",
    "structure_angle_bracket_null": b"[<null>]",
    "structure_asterisk_after": b"[1]*",
    "structure_byte_order_mark": b'\xef\xbb\xbf{"a":1}',
    "structure_byte_order_mark_alone": b"\xef\xbb\xbf",
    "structure_incomplete_byte_order_mark": b"\xef\xbb{}",
    "structure_lone_invalid_utf8": b"\xff",
    "structure_utf16_little_endian": '{"a":1}'.encode("utf-16-le"),
    "structure_utf16_big_endian": '{"a":1}'.encode("utf-16-be"),
    "structure_utf16_with_mark": '{"a":1}'.encode("utf-16"),
    "structure_utf32": '{"a":1}'.encode("utf-32"),
    "structure_comment_before": b"/**/{}",
    "structure_comma_instead_of_closing_brace": b'{"x": true,',
    "structure_end_array": b"]",
    "structure_double_array": b"[][]",
    "structure_two_documents": b'{"a":1}\n{"a":1}',
    "structure_form_feed_whitespace": b"[\x0c]",
    "structure_no_break_space": b"[\xc2\xa0]",
    "structure_word_joiner": b"[\xe2\x81\xa0]",
    "structure_null_byte_outside_string": b"[\x00]",
    "structure_null_byte_after": b"[]\x00",
    "structure_number_with_trailing_garbage": b"2@",
    "structure_open_array_apostrophe": b"['",
    "structure_open_array_comma": b"[,",
    "structure_open_array_open_object": b"[{",
    "structure_open_object_close_array": b"{]",
    "structure_open_object_open_string": b'{"a',
    "structure_single_star": b"*",
    "structure_trailing_hash": b'{"a":"b"}#{}',
    "structure_uescaped_lf_before_string": b'[\\u000A""]',
    "structure_unclosed_array_partial_null": b"[ false, nul",
    "structure_jsonp": b"callback({})",
    "structure_prefix_of_google": b")]}'\n{}",
}

VALID: list[bytes] = [
    b"[]",
    b"{}",
    b"null",
    b"true",
    b"false",
    b"0",
    b"-0",
    b"-1",
    b"42",
    b'""',
    b'"text"',
    b" [] ",
    b"\t\r\n [\t1\r,\n2 ] \n",
    b'[[],[[]],{"a":[]}]',
    b'["a",1,null,true,false,{},[]]',
    b"[0e+1]",
    b"[0e1]",
    b"[1E22]",
    b"[1E-2]",
    b"[1E+2]",
    b"[123e45]",
    b"[123.456e78]",
    b"[123.456789]",
    b"[-0.0]",
    b"[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]",
    b"[1e-400]",
    b"[20e1]",
    b"[9007199254740991]",
    b"[-9007199254740991]",
    b"[9007199254740993.0]",
    b'{"a":1,"b":2}',
    b'{"":0}',
    b'{"a":{"a":{"a":1}}}',
    b'{"A":1,"a":2}',
    b'{"foo\\u0000bar":42}',
    b'{"a":[],"b":{}}',
    b'[{"a":1},{"a":1}]',
    b'["\\u0060\\u012a\\u12AB"]',
    b'["\\uD801\\udc37"]',
    b'["\\ud83d\\ude39\\ud83d\\udc8d"]',
    b'["\\"\\\\\\/\\b\\f\\n\\r\\t"]',
    b'["\\\\u0000"]',
    b'["\\\\\\""]',
    b'["\\u0000"]',
    b'["\\uD800"]',
    b'["\\uDFAA\\uD800"]',
    b'["a/*b*/c/*d//e"]',
    b'["\x7f"]',
    b'["\xc2\xa0\xe2\x80\xa8\xe2\x80\xa9"]',
    b'["\xef\xbb\xbf"]',
    b'["\xf0\x9f\x98\xb9 \xf4\x8f\xbf\xbf"]',
    b'["\xef\xbf\xbe\xef\xbf\xbf"]',
    b'["[[[[{{{{"]',
    b'["]]]]}}}}"]',
    b'{"a":"\\u002c\\u007d"}',
    b'["NaN","Infinity","-Infinity"]',
]

DUPLICATES: list[bytes] = [
    b'{"a":1,"a":1}',
    b'{"a":1,"b":2,"a":3}',
    b'{"a":1,"\\u0061":2}',
    b'{"":1,"":2}',
    b'[{"x":{"a":1,"a":2}}]',
    b'{"x":[{"a":null,"a":null}]}',
    b'{"\\ud83d\\ude39":1,"\xf0\x9f\x98\xb9":2}',
]

OUT_OF_RANGE: list[bytes] = [
    b"9007199254740992",
    b"-9007199254740992",
    b"18446744073709551616",
    b"1e999",
    b"-1e999",
    b"1E400",
    b"0.4e00669999999999999999999999999999999999999999999999999999999999999999",
    b"1" * 4300,
    b"1" * 5000,
    b"-" + b"9" * 5000,
    b"1" * BODY_LIMIT,
    b"1" + b"0" * 5000 + b".0",
    b"9" * 60000 + b"e1",
]

TOO_DEEP: dict[str, bytes] = {
    "33 arrays": b"[" * 33 + b"]" * 33,
    "33 objects": b'{"a":' * 33 + b"1" + b"}" * 33,
    "33 of both": b'[{"a":' * 16 + b"[]" + b"}]" * 16,
    "33 after closed ones": b"[" + b"[]," * 100 + b"[" * 32 + b"]" * 33,
    "33 after a string with brackets": b'["]]]]",' + b"[" * 32 + b"]" * 33,
    "33 after an escaped quote": b'["\\"]]]]",' + b"[" * 32 + b"]" * 33,
    "33 after an escaped backslash": b'["\\\\",' + b"[" * 32 + b"]" * 33,
    "1,000 unclosed arrays": b"[" * 1000,
    "64 KiB of arrays": b"[" * BODY_LIMIT,
    "64 KiB of objects": b'{"":' * (BODY_LIMIT // 4),
    "64 KiB of closed arrays": b"[" * (BODY_LIMIT // 2) + b"]" * (BODY_LIMIT // 2),
}

DEEP_ENOUGH: dict[str, bytes] = {
    "32 arrays": b"[" * 32 + b"]" * 32,
    "32 objects": b'{"a":' * 32 + b"1" + b"}" * 32,
    "32 many times": b"[" + b",".join([b"[" * 31 + b"]" * 31] * 500) + b"]",
    "brackets in a string": b'["' + b"[" * 65000 + b'"]',
    "brackets behind escaped quotes": b'["' + b'\\"[' * 20000 + b'"]',
    "brackets behind escaped backslashes": b'["' + b"\\\\[{" * 16000 + b'"]',
    "brackets in a name": b'{"' + b"{" * 65000 + b'":1}',
    "thousands of empty arrays": b"[" + b"[]," * 20000 + b"[]]",
}

# 64 KiB each, to make a scanner that backtracks try every way to read them.
HOSTILE: dict[str, bytes] = {
    "escaped quotes without a string": b'\\"' * (BODY_LIMIT // 2),
    "escaped quotes in an open string": b'"' + b'\\"' * (BODY_LIMIT // 2 - 1),
    "escaped backslashes in an open string": b'"' + b"\\\\" * (BODY_LIMIT // 2 - 1),
    "odd backslashes at the end": b'"' + b"\\" * (BODY_LIMIT - 3) + b'"',
    "quotes": b'"' * BODY_LIMIT,
    "empty strings between brackets": b'[""' * (BODY_LIMIT // 3),
    "an open string of brackets": b'"' + b"[" * (BODY_LIMIT - 1),
    "an open string of letters after brackets": b"[" * 32 + b'"' + b"a" * (BODY_LIMIT - 33),
    "an open string behind 33 closed arrays": b"[" + b"[]," * 33 + b'"' + b"\\a" * 32000,
    "closing brackets": b"]" * BODY_LIMIT,
    "closing brackets before opening ones": b"]" * 32768 + b"[" * 32768,
    "mixed brackets": b"[}" * (BODY_LIMIT // 2),
    "white space": b" " * BODY_LIMIT,
    "white space after a document": b"[]" + b" " * 65000 + b"x",
    "minus signs": b"-" * BODY_LIMIT,
    "digits and exponents": b"1e" * (BODY_LIMIT // 2),
    "half escapes": b'"' + b"\\u" * (BODY_LIMIT // 2 - 1),
    "high surrogates without an end": b'"' + b"\\ud800" * 10000,
    "objects without values": b'{"a":1,' * 9000,
    "backslashes among many brackets": b"[]" * 100 + b"\\" * 60000,
}


@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID.keys())
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        strict_json.loads(body)


@pytest.mark.parametrize("body", VALID)
def test_what_is_json_has_the_value_that_python_gives_it(body: bytes) -> None:
    assert _typed(strict_json.loads(body)) == _typed(json.loads(body))


@pytest.mark.parametrize("body", DUPLICATES)
def test_a_member_given_twice_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        strict_json.loads(body)


@pytest.mark.parametrize("wrap", [b"%s", b"[%s]", b'{"a":%s}'], ids=["top", "array", "object"])
@pytest.mark.parametrize("number", OUT_OF_RANGE, ids=lambda number: number[:20].decode())
def test_a_number_that_parsers_read_differently_is_refused(number: bytes, wrap: bytes) -> None:
    with pytest.raises(MalformedJson):
        strict_json.loads(wrap % number)


@pytest.mark.parametrize("number", [LARGEST, -LARGEST, LARGEST - 1, 0, -1])
def test_integers_of_53_bits_are_kept_exactly(number: int) -> None:
    assert strict_json.loads(str(number).encode()) == number


def test_a_long_fraction_is_a_number() -> None:
    assert strict_json.loads(b"0." + b"3" * 5000) == pytest.approx(1 / 3)


@pytest.mark.parametrize("body", TOO_DEEP.values(), ids=TOO_DEEP.keys())
def test_deeper_nesting_than_32_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        strict_json.loads(body)


@pytest.mark.parametrize("body", DEEP_ENOUGH.values(), ids=DEEP_ENOUGH.keys())
def test_nesting_is_counted_outside_of_strings_only(body: bytes) -> None:
    assert strict_json.loads(body) == json.loads(body)


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_64_kib_made_to_be_slow_are_refused_all_the_same(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        strict_json.loads(body)


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(MalformedJson) as refusal:
        strict_json.loads(b'{"password": "canary-7f3a", "password": "canary-7f3a"')
    assert "canary" not in str(refusal.value.as_dict(None))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-LARGEST, LARGEST)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@settings(deadline=None)
@given(VALUES, st.booleans())
def test_any_value_comes_back_as_it_was(value: Any, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert _typed(strict_json.loads(body)) == _typed(value)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text('[]{}",:\\ud80019eE+-.tfn \n\0é', max_size=200).map(str.encode))
def test_any_bytes_are_a_value_that_python_reads_too_or_refused(body: bytes) -> None:
    try:
        value = strict_json.loads(body)
    except MalformedJson:
        return
    assert _typed(value) == _typed(json.loads(body))


@settings(deadline=None)
@given(VALUES, st.data())
def test_a_document_cut_short_is_refused(value: Any, data: st.DataObject) -> None:
    body = json.dumps([value]).encode()
    with pytest.raises(MalformedJson):
        strict_json.loads(body[: data.draw(st.integers(0, len(body) - 1))])


def _typed(value: Any) -> str:
    """Return a text that tells 1 from 1.0 and from true, and -0.0 from 0.0."""
    return repr(value)
