"""Answers written by what their schemas declare, compiled once: marshmallow's own way costs much more."""

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import Schema, fields

Writer = Callable[[Any], Any]

# Fields whose values go out as they are: the encoder knows numbers, texts, ids and objects.
_PLAIN = {
    kind._serialize for kind in (fields.String, fields.UUID, fields.Number, fields.Boolean, fields.Dict)
}


def writer_of(schema: Schema) -> Writer:
    """Return what writes a mapping, or an object with attributes; every member must be there."""
    members = [
        (field.data_key or name, field.attribute or name, _writer_of(field, name))
        for name, field in schema.dump_fields.items()
    ]

    def write(value: Any) -> dict[str, Any]:
        if isinstance(value, Mapping):
            return {key: w(value[name]) if w else value[name] for key, name, w in members}
        return {key: w(getattr(value, name)) if w else getattr(value, name) for key, name, w in members}

    return write


def _writer_of(field: fields.Field[Any], name: str) -> Writer | None:
    """Return what writes a field's values; None for those that go out as they are."""
    if isinstance(field, fields.Nested):
        return _unless_none(writer_of(field.schema))
    if isinstance(field, fields.List):
        write = _writer_of(field.inner, name)
        return None if write is None else _unless_none(lambda values: [write(value) for value in values])
    if type(field)._serialize in _PLAIN and not getattr(field, "key_field", None):
        return None
    return lambda value: field._serialize(value, name, None)


def _unless_none(write: Writer) -> Writer:
    return lambda value: None if value is None else write(value)
