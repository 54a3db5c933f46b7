"""What the service says about itself."""

from marshmallow import fields

from schemas.base import Answer, Integer, JsonObject, Matching, PageAnswer, Request, Text, list_of
from schemas.messages import Phrase


class ProblemPath(Request):
    """The path of one kind of problem."""

    code = Matching(
        r"[a-z0-9_]+",
        hint=Phrase("Must be the code of a problem."),
        minimum=1,
        maximum=100,
        required=True,
        metadata={"description": "The `code` of a problem.", "example": "email_taken"},
    )


class ServiceAnswer(Answer):
    """The service, and where to go from here."""

    name = Text(maximum=50, metadata={"example": "Tessera"})
    version = Text(maximum=50, metadata={"example": "0.1.0"})
    links = JsonObject(4096, metadata={"example": {"openapi": "http://127.0.0.1:8000/openapi.json"}})


class ClientConfigAnswer(Answer):
    """What a frontend needs to draw its forms."""

    features = list_of(Text(maximum=80), 200, metadata={"example": ["sessions", "users"]})
    settings = JsonObject(
        65536,
        metadata={
            "description": "What each feature tells clients, by the feature's name.",
            "example": {"users": {"sign_up": "open"}},
        },
    )


class ProblemKindAnswer(Answer):
    """What a problem means, and what to do about it."""

    code = Text(maximum=100, metadata={"example": "email_taken"})
    status = Integer(400, 599, metadata={"example": 409})
    title = Text(maximum=200, metadata={"example": "The e-mail address is taken"})
    detail = Text(maximum=1000, metadata={"example": "Another account has this e-mail address."})
    remedy = Text(maximum=1000, metadata={"example": "Sign in, or use another address."})


class ProblemKindPageAnswer(PageAnswer):
    """Every kind of problem that this service answers."""

    items = list_of(fields.Nested(ProblemKindAnswer), 1000)
