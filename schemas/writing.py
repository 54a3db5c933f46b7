"""Answers written by what their schemas declare, compiled once: marshmallow's own way costs much more."""

from collections.abc import Callable, Mapping
from operator import attrgetter, itemgetter
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
    keys = [key for key, _, _ in members]
    of_mapping, of_object = (
        _all_of(kind, [name for _, name, _ in members]) for kind in (itemgetter, attrgetter)
    )
    writers = [(key, write) for key, _, write in members if write is not None]

    def write(value: Any) -> dict[str, Any]:
        is_mapping = isinstance(value, dict) or isinstance(value, Mapping)  # noqa: SIM101  # much the quicker
        written = dict(zip(keys, (of_mapping if is_mapping else of_object)(value), strict=True))
        for key, write in writers:
            written[key] = write(written[key])
        return written

    return write


def _all_of(kind: Callable[..., Any], names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what gets all of some values at once, always as a tuple."""
    get = kind(*names) if names else lambda _: ()
    return get if len(names) != 1 else lambda value: (get(value),)


def _writer_of(field: fields.Field[Any], name: str) -> Writer | None:
    """Return what writes a field's values; None for those that go out as they are."""
    if isinstance(field, fields.Nested):
        return _unless_none(writer_of(field.schema))
    if isinstance(field, fields.List):
        write = _writer_of(field.inner, name)
        return None if write is None else _unless_none(lambda values: [write(value) for value in values])
    if type(field)._serialize in _PLAIN and not getattr(field, "key_field", None):
        return None
    return getattr(field, "write", None) or (lambda value: field._serialize(value, name, None))


def _unless_none(write: Writer) -> Writer:
    return lambda value: None if value is None else write(value)
