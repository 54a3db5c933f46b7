"""Sessions and tokens as they cross the wire."""

from marshmallow import fields

from schemas.base import (
    Answer,
    Boolean,
    Id,
    Integer,
    PageAnswer,
    PageQuery,
    Request,
    Text,
    Timestamp,
    Verbatim,
    list_of,
    one_of,
)
from schemas.users import UserAnswer, UserPath


class SessionCreate(Request):
    """What signing in takes."""

    identifier = Text(
        minimum=1,
        maximum=254,
        required=True,
        metadata={"description": "A username or an e-mail address.", "example": "mina"},
    )
    password = Verbatim(
        minimum=1,
        maximum=1024,
        required=True,
        metadata={"format": "password", "example": "correct horse battery staple"},
    )
    device_name = Text(
        minimum=1,
        maximum=100,
        load_default=None,
        allow_none=True,
        metadata={"description": "What the user calls this device.", "example": "Mina's phone"},
    )


class SessionRefresh(Request):
    """What refreshing takes."""

    refresh_token = Verbatim(
        minimum=1,
        maximum=1024,
        required=True,
        metadata={"format": "password", "example": "tsr_AZnSpHsefGOfIW8KS4wtEAAAAAEx8nJ0kQ2vVJm1b7eH5oYc"},
    )


class SessionPath(UserPath):
    """The path of one session of a user."""

    session_id = Id(required=True, metadata={"description": "A session's id."})


class SessionList(PageQuery):
    """The query of the list of a user's sessions."""


class SessionsEnd(Request):
    """The query of ending many sessions."""

    keep = Text(
        maximum=20,
        load_default=None,
        validate=one_of("current"),
        metadata={"description": "`current` keeps the session of this request."},
    )


class SessionAnswer(Answer):
    """One signed-in device."""

    id = Id(metadata={"example": "0199d2a4-8c2f-7a10-8e44-1b9d3f5a7c20"})
    device_name = Text(maximum=100, allow_none=True, metadata={"example": "Mina's phone"})
    user_agent = Text(maximum=500, allow_none=True, metadata={"example": "curl/8.9.1"})
    ip = Text(maximum=45, allow_none=True, metadata={"example": "192.0.2.7"})
    created_at = Timestamp(metadata={"example": "2026-11-22T09:31:00.000000Z"})
    last_used_at = Timestamp(metadata={"example": "2026-11-22T09:31:00.000000Z"})
    expires_at = Timestamp(
        metadata={
            "description": "When the session ends at the latest, if it is not used before.",
            "example": "2026-12-22T09:31:00.000000Z",
        }
    )
    current = Boolean(metadata={"description": "Whether this request belongs to it.", "example": True})
    amr = list_of(
        Text(maximum=20),
        20,
        metadata={"description": "How the user proved who they are (RFC 8176).", "example": ["pwd"]},
    )


class SessionListAnswer(PageAnswer):
    """A page of the devices on which a user is signed in."""

    items = list_of(fields.Nested(SessionAnswer), 200)


class TokensAnswer(Answer):
    """A session with the tokens that carry it."""

    session = fields.Nested(SessionAnswer)
    user = fields.Nested(UserAnswer)
    access_token = Verbatim(
        maximum=8192,
        metadata={"description": "A JWT (RFC 9068).", "example": "eyJhbGciOiJFUzI1NiIsImtpZCI6..."},
    )
    token_type = Text(maximum=20, metadata={"example": "Bearer"})
    expires_in = Integer(1, 86400, metadata={"description": "Seconds.", "example": 873})
    expires_at = Timestamp(metadata={"example": "2026-11-22T09:45:33.000000Z"})
    refresh_token = Verbatim(
        maximum=1024,
        metadata={
            "description": "To be exchanged, once, when the access token expires.",
            "example": "tsr_AZnSpHsefGOfIW8KS4wtEAAAAAEx8nJ0kQ2vVJm1b7eH5oYc",
        },
    )


class KeySetAnswer(Answer):
    """Public keys (RFC 7517)."""

    keys = list_of(
        fields.Dict(keys=fields.String()),
        20,
        metadata={"example": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "..."}]},
    )
