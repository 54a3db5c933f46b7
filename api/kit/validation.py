"""Load what a client sent by its schema, and say everything that is wrong with it."""

from collections.abc import Iterator, Mapping
from typing import Any

from marshmallow import Schema, ValidationError
from werkzeug.datastructures import MultiDict

from api.kit.problems import FieldError, ValidationFailed
from schemas.base import UNKNOWN
from schemas.messages import Message

_REPEATED = Message("repeated", "Is given more than once.")


def load_body(schema: Schema, document: Any) -> dict[str, Any]:
    """Return the loaded members; raises ValidationFailed with JSON pointers."""
    return _load(schema, document, _pointer_errors)


def load_parameters(schema: Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the loaded query or path parameters; raises ValidationFailed naming them."""
    return _load(schema, values, _parameter_errors)


def single_values(query: MultiDict[str, str]) -> dict[str, str]:
    """Return each parameter's value; raises ValidationFailed for one that is given twice."""
    repeated = [name for name, values in query.lists() if len(values) > 1]
    if repeated:
        raise ValidationFailed(FieldError(_REPEATED, parameter=_printable(name)) for name in repeated)
    return query.to_dict()


def refuse(member: str, message: Message) -> ValidationFailed:
    """Return the refusal of one member of the body that its schema could not judge."""
    return ValidationFailed([FieldError(message, pointer=f"/{member}")])


def reference_token(name: str) -> str:
    """Return a member's name as it stands in a JSON pointer (RFC 6901 section 3)."""
    return name.replace("~", "~0").replace("/", "~1")


def _load(schema: Schema, data: Any, errors: Any) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = schema.load(data)
    except ValidationError as error:
        raise ValidationFailed(errors(error.messages)) from None
    return loaded


def _pointer_errors(messages: Any) -> Iterator[FieldError]:
    for path, message in _flatten(messages, ()):
        pointer = "".join(f"/{reference_token(part)}" for part in path)
        yield FieldError(message, pointer=_printable(pointer))


def _parameter_errors(messages: Any) -> Iterator[FieldError]:
    for path, message in _flatten(messages, ()):
        yield FieldError(message, parameter=_printable(".".join(path)))


def _flatten(messages: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Message]]:
    if isinstance(messages, dict):
        for name, inner in messages.items():
            of_whole = name == "_schema" and inner != [UNKNOWN]  # marshmallow's word, or a member's name
            yield from _flatten(inner, path if of_whole else (*path, str(name)))
    elif isinstance(messages, list):
        for inner in messages:
            yield from _flatten(inner, path)
    else:
        yield path, Message.of(messages)


def _printable(text: str) -> str:
    """Return the text with lone surrogates written out: UTF-8 has no form for them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
