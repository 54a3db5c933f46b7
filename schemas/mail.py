"""Letters as they cross the wire, in development alone."""

from marshmallow import fields

from schemas.base import Answer, Id, Timestamp, Verbatim, list_of


class LetterAnswer(Answer):
    """A letter as it was carried."""

    id = Id(metadata={"example": "0199d2a4-8c2f-7a10-8e44-1b9d3f5a7c20"})
    to = Verbatim(maximum=320, metadata={"example": "mina@example.com"})
    subject = Verbatim(maximum=1000, metadata={"example": "Confirm your e-mail address"})
    text = Verbatim(maximum=100_000, metadata={"example": "Hello Mina"})
    html = Verbatim(maximum=100_000, metadata={"example": "<p>Hello Mina</p>"})
    sent_at = Timestamp(metadata={"example": "2026-11-22T09:45:33.000000Z"})


class DevelopmentMailAnswer(Answer):
    """The letters of late."""

    items = list_of(fields.Nested(LetterAnswer), 50)
