"""Fields in the OpenAPI document: what apispec does not know of ours, and what generators read well."""

from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow.field_converter import make_type_list
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import fields
from marshmallow.validate import OneOf

from schemas.base import CANONICAL_UUID, Id, Integer, Text

JSON_OBJECT = {"$ref": "#/components/schemas/JsonObject"}


def add_fields(spec: APISpec, converter: OpenAPIConverter) -> None:
    """Let the converter describe our fields, and add the one shape that all free objects share."""
    converter.add_attribute_function(_describe_field)
    any_members = {"type": "object", "description": "Any members.", "additionalProperties": {}}
    spec.components.schema("JsonObject", any_members)


def parameter_schema(described: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter, which may be absent but never null."""
    [kind] = set(make_type_list(described["type"])) - {"null"}
    parameter = described | {"type": kind}
    if "enum" in described:
        parameter["enum"] = [value for value in described["enum"] if value is not None]
    return parameter


def _describe_field(
    _converter: OpenAPIConverter, field: fields.Field[Any], ret: dict[str, Any]
) -> dict[str, Any]:
    if ret.get("default", ...) is None:
        del ret["default"]  # it stands for absence
    if isinstance(field, fields.Dict) and field.value_field is None:
        return _describe_json_object(field, ret)
    if isinstance(field, Text):
        return _describe_text(field)
    if isinstance(field, Integer):
        return {"minimum": field.minimum, "maximum": field.maximum}
    if isinstance(field, Id) and field.me:
        del ret["format"]
        return {"pattern": f"^(?:me|{CANONICAL_UUID})$"}
    if isinstance(field, Id):
        return {"pattern": f"^{CANONICAL_UUID}$"}
    return {}


def _describe_json_object(field: fields.Dict, ret: dict[str, Any]) -> dict[str, Any]:
    del ret["type"], ret["additionalProperties"]
    return {"anyOf": [JSON_OBJECT, {"type": "null"}]} if field.allow_none else JSON_OBJECT


def _describe_text(field: Text) -> dict[str, Any]:
    if any(isinstance(validator, OneOf) for validator in field.validators):
        return {}  # the list says it all
    pattern = {"pattern": field.described_pattern} if field.described_pattern else {}
    return {"minLength": field.minimum, "maxLength": field.maximum, **pattern}
