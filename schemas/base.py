"""What every shape is made of: strict fields, requests and answers."""

import json
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, validate, validates_schema

from schemas.messages import Message, Phrase
from schemas.writing import writer_of

CANONICAL_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# Controls, lone surrogates, and the characters that turn the direction of text (UAX 9).
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")  # what PostgreSQL cannot keep

REQUIRED = Message("required", "Is missing.")
NULL = Message("null_not_allowed", "May not be null.")
UNKNOWN = Message("unknown_member", "Is not known here.")
NOT_AN_OBJECT = Message("invalid_type", "Must be an object.")
CHARACTERS = Message("invalid_characters", "Has characters that are not allowed.")

_COMMON = {
    "required": REQUIRED,
    "null": NULL,
    "validator_failed": Message("invalid", "Is not valid."),
}


def length(minimum: int | None = None, maximum: int | None = None) -> validate.And:
    """Bound the length, in code points, members or items, with a code for either side."""
    bounds: list[validate.Validator] = []
    if minimum is not None:
        short = Message("too_short", "Must have at least {min}.")
        bounds.append(validate.Length(min=minimum, error=short))
    if maximum is not None:
        long = Message("too_long", "Must have at most {max}.")
        bounds.append(validate.Length(max=maximum, error=long))
    return validate.And(*bounds)


def one_of(*choices: str) -> validate.OneOf:
    return validate.OneOf(choices, error=Message("not_one_of", "Must be one of: {choices}."))


class Text(fields.String):
    """A line of text without control characters, of at most `maximum` code points.

    `described_pattern` says so to OpenAPI, whose dialect (ECMA-262) reads surrogates as pairs.
    """

    described_pattern: str | None = r"^[^\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]*$"

    default_error_messages = {**_COMMON, "invalid": Message("invalid_type", "Must be a string.")}

    def __init__(self, *, minimum: int = 0, maximum: int, **kwargs: Any) -> None:
        self.minimum, self.maximum = minimum, maximum
        self._judge_length = length(minimum, maximum)
        super().__init__(**kwargs)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        self._judge_length(text)
        self.refuse_characters(text)
        return text

    def refuse_characters(self, text: str) -> None:
        if _UNFIT.search(text):
            raise ValidationError(CHARACTERS)


class Verbatim(Text):
    """Text that must be taken as it is: only what no database and no hash can hold is refused."""

    described_pattern: str | None = r"^[^\u0000]*$"

    def refuse_characters(self, text: str) -> None:
        if UNSTORABLE.search(text):
            raise ValidationError(CHARACTERS)


class Matching(Text):
    """Text that a whole pattern matches; `pattern` is read by Python and ECMA-262 alike."""

    def __init__(self, pattern: str, *, hint: Phrase, **kwargs: Any) -> None:
        self.pattern, self.hint, self.described_pattern = pattern, hint, f"^(?:{pattern})$"
        super().__init__(**kwargs)

    def refuse_characters(self, text: str) -> None:
        if not re.fullmatch(self.pattern, text):
            raise ValidationError(Message("invalid_format", self.hint))


class Instant(Matching):
    """An instant in requests: RFC 3339 with its offset, or `Z`; loaded in UTC."""

    def __init__(self, **kwargs: Any) -> None:
        metadata = {"format": "date-time", **kwargs.pop("metadata", {})}
        super().__init__(
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+\-][0-9]{2}:[0-9]{2})",
            hint=Phrase("Must be an instant such as 2026-11-22T09:30:00Z."),
            minimum=20,
            maximum=35,
            metadata=metadata,
            **kwargs,
        )
        self._judge_length = length(0, sys.maxsize)  # the pattern does

    def _deserialize(  # type: ignore[override]  # a text on the wire alone
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> datetime:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
        except (ValueError, OverflowError):  # a day or an offset that no calendar has
            raise ValidationError(Message("invalid_format", self.hint)) from None


class Integer(fields.Integer):
    """A whole number within bounds; `"5"` and `5.0` are none. A parameter is read from digits."""

    default_error_messages = {**_COMMON, "invalid": Message("invalid_type", "Must be an integer.")}

    def __init__(self, minimum: int, maximum: int, *, parameter: bool = False, **kwargs: Any) -> None:
        self.minimum, self.maximum, self.parameter = minimum, maximum, parameter
        super().__init__(**kwargs)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> int:
        if self.parameter and re.fullmatch(r"-?[0-9]{1,18}", value, re.ASCII):
            value = int(value)
        if type(value) is not int:
            raise self.make_error("invalid")
        if not self.minimum <= value <= self.maximum:
            bounds = {"minimum": self.minimum, "maximum": self.maximum}
            raise ValidationError(Message("out_of_range", "Must be from {minimum} to {maximum}.", **bounds))
        return value


class Boolean(fields.Boolean):
    """`true` or `false`, and nothing that looks like them. A parameter is read from the word."""

    default_error_messages = {**_COMMON, "invalid": Message("invalid_type", "Must be true or false.")}

    def __init__(self, *, parameter: bool = False, **kwargs: Any) -> None:
        self.parameter = parameter
        super().__init__(**kwargs)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> bool:
        if self.parameter:
            value = {"true": True, "false": False}.get(value)
        if type(value) is not bool:
            raise self.make_error("invalid")
        return value


class Id(fields.UUID):
    """An identifier: a UUID in its canonical lower-case form; with `me`, that word as well."""

    default_error_messages = {**_COMMON, "invalid_uuid": Message("invalid_format", "Must be a UUID.")}

    def __init__(self, *, me: bool = False, **kwargs: Any) -> None:
        self.me = me
        super().__init__(**kwargs)

    def _deserialize(  # type: ignore[override]  # the word `me` stays a word
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> UUID | str:
        if self.me and value == "me":
            return "me"
        if not isinstance(value, str) or not re.fullmatch(CANONICAL_UUID, value):
            raise self.make_error("invalid_uuid")
        return UUID(value)


def instant_text(instant: datetime) -> str:
    """Return an instant as answers write it."""
    utc = instant if instant.tzinfo is UTC else instant.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


class Timestamp(fields.AwareDateTime):
    """An instant in answers: RFC 3339, UTC, with `Z` and microseconds."""

    @staticmethod
    def write(value: datetime | None) -> str | datetime | None:
        """Return the text, or the instant if the encoder writes it alike: it omits zero microseconds."""
        if value is None or (value.microsecond and value.tzinfo is UTC):
            return value
        return instant_text(value)

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else instant_text(value)


class JsonObject(fields.Dict):
    """Any JSON object of at most `maximum` bytes, written without spaces in UTF-8."""

    default_error_messages = {**_COMMON, "invalid": NOT_AN_OBJECT}

    def __init__(self, maximum: int, **kwargs: Any) -> None:
        self.maximum = maximum
        super().__init__(**kwargs)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if re.search(r"[\ud800-\udfff]", text) or "\\u0000" in text.replace("\\\\", ""):
            raise ValidationError(CHARACTERS)
        if len(text.encode()) > self.maximum:
            long = Message("too_long", "Must have at most {maximum} bytes.", maximum=self.maximum)
            raise ValidationError(long)
        return value


class Request(Schema):
    """What a client sends: a member that is not declared is refused.

    `rules` are called with the members that are fit by themselves, and raise ValidationError.
    """

    class Meta:
        unknown = RAISE

    error_messages = {"unknown": UNKNOWN, "type": NOT_AN_OBJECT}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rules: list[Callable[[Mapping[str, Any]], None]] = []

    @validates_schema(skip_on_field_errors=False)
    def _obey_rules(self, data: Mapping[str, Any], **_: Any) -> None:
        for rule in self.rules:
            rule(data)


def list_of(inner: fields.Field[Any], maximum: int, **kwargs: Any) -> fields.List[Any]:
    """Return a list of at most `maximum` items."""
    long = Message("too_long", "Must have at most {max}.")
    return fields.List(inner, validate=validate.Length(max=maximum, error=long), **kwargs)


class Answer(Schema):
    """What a client gets: every member is always there, and more may come."""

    class Meta:
        unknown = EXCLUDE

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        field_obj.required = True

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """Write one answer."""
        return self._write(obj)

    @cached_property
    def _write(self) -> Callable[[Any], dict[str, Any]]:
        return writer_of(self)


class NoParameters(Request):
    """The query of an operation that takes none."""


def one_time_token() -> Verbatim:
    """Return the field of a token that came in a letter."""
    return Verbatim(
        minimum=1,
        maximum=200,
        required=True,
        metadata={"format": "password", "example": "3q2-7wAAAAB2bXk0dG9rZW5mcm9tYWxldHRlcnNlZQ0"},
    )


CURSOR_MAXIMUM = 512  # characters


class PageQuery(Request):
    """The query of a list that comes in pages."""

    limit = Integer(1, 200, parameter=True, load_default=50, metadata={"description": "Items on the page."})
    cursor = Text(
        minimum=1,
        maximum=CURSOR_MAXIMUM,
        load_default=None,
        metadata={"description": "The `next_cursor` of the page before."},
    )


class PageAnswer(Answer):
    """A page of a list, less its items."""

    next_cursor = Text(
        maximum=CURSOR_MAXIMUM,
        allow_none=True,
        metadata={"description": "For the next page; null on the last.", "example": None},
    )
