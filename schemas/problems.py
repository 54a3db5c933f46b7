"""Refusals (RFC 9457) as they cross the wire."""

from typing import Any

from marshmallow import fields

from schemas.base import Answer, Integer, Text, Verbatim, list_of


class Echo(Verbatim):
    """Text out of the request that is refused: any characters."""

    described_pattern = None


class ProblemAnswer(Answer):
    """A refusal: `code` is for programs, `title` and `detail` are for people."""

    type = Text(maximum=200, metadata={"description": "Where the problem is described, relative."})
    title = Text(maximum=200)
    status = Integer(400, 599)
    code = Text(maximum=100, metadata={"description": "Stable, in snake_case."})
    detail = Text(maximum=1000)
    request_id = Text(maximum=128)
    max_age = Integer(
        1, 86400, metadata={"description": "With `reauthentication_required`: seconds (RFC 9470)."}
    )

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        field_obj.required = field_name != "max_age"


class FieldErrorAnswer(Answer):
    """One thing wrong with the request, in its body (`pointer`) or elsewhere (`parameter`)."""

    pointer = Echo(maximum=140000, metadata={"description": "A JSON pointer into the body (RFC 6901)."})
    parameter = Echo(maximum=140000, metadata={"description": "The name of a query or path parameter."})
    code = Text(maximum=100)
    detail = Text(maximum=1000)

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        field_obj.required = field_name in ("code", "detail")


class ValidationProblemAnswer(ProblemAnswer):
    """A refusal of a request that does not fit its schema: `errors` lists every reason."""

    errors = list_of(fields.Nested(FieldErrorAnswer), 65536)
