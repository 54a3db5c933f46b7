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
from schemas.users import UserAnswer, UserPath, password

_SESSION_ID = "0199d2a4-8c2f-7a10-8e44-1b9d3f5a7c20"


class SessionCreate(Request):
    """What signing in takes."""

    identifier = Text(
        minimum=1,
        maximum=254,
        required=True,
        metadata={"description": "A username or an e-mail address.", "example": "mina"},
    )
    password = password(required=True)
    device_name = Text(
        minimum=1,
        maximum=100,
        load_default=None,
        allow_none=True,
        metadata={"description": "What the user calls this device.", "example": "Mina's phone"},
    )


class RefreshToken(Request):
    """What refreshing, and signing out without an access token, takes."""

    refresh_token = Verbatim(
        minimum=1,
        maximum=1024,
        required=True,
        metadata={"format": "password", "example": "tsr_AZnSpHsefGOfIW8KS4wtEAAAAAEx8nJ0kQ2vVJm1b7eH5oYc"},
    )


class SessionReauthenticate(Request):
    """What proving once more who one is takes."""

    password = password(required=True)


class SessionPath(UserPath):
    """The path of one session of a user."""

    session_id = Id(required=True, metadata={"description": "A session's id.", "example": _SESSION_ID})


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

    id = Id(metadata={"example": _SESSION_ID})
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


class SessionPageAnswer(PageAnswer):
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
    expires_in = Integer(0, 86400, metadata={"description": "Seconds.", "example": 873})
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
        100,
        metadata={"example": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "..."}]},
    )


class AuthorizationServerAnswer(Answer):
    """Where to find what verifies access tokens (RFC 8414)."""

    issuer = Text(maximum=300, metadata={"example": "https://id.example.com"})
    jwks_uri = Text(maximum=400, metadata={"example": "https://id.example.com/.well-known/jwks.json"})
    revocations_uri = Text(maximum=400, metadata={"example": "https://id.example.com/v1/revocations"})
    service_documentation = Text(maximum=400, metadata={"example": "https://id.example.com/openapi.json"})
    response_types_supported = list_of(
        Text(maximum=80), 20, metadata={"description": "None: this is no OAuth server.", "example": []}
    )
    grant_types_supported = list_of(Text(maximum=80), 20, metadata={"description": "None.", "example": []})


class RevocationList(Request):
    """The query of the feed of what ended."""

    since = Integer(
        0,
        10**18 - 1,
        parameter=True,
        load_default=0,
        metadata={"description": "The `next_since` of the answer before; 0 to begin."},
    )
    limit = Integer(1, 1000, parameter=True, load_default=200, metadata={"description": "Items on the page."})


class RevocationAnswer(Answer):
    """Something that ended before its time."""

    session_id = Id(
        allow_none=True,
        metadata={
            "description": "The `sid` of its tokens; null when the whole user ended.",
            "example": _SESSION_ID,
        },
    )
    user_id = Id(metadata={"example": "0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10"})
    reason = Text(
        maximum=30,
        metadata={
            "description": "`signed_out`, `refresh_token_reused`, `password_changed`, `user_deleted`, "
            "`user_suspended`, `evicted`; more may come.",
            "example": "signed_out",
        },
    )
    ended_at = Timestamp(metadata={"example": "2026-11-22T09:45:33.000000Z"})
    forget_at = Timestamp(
        metadata={
            "description": "When no token of it is left, and the entry is of no use any more.",
            "example": "2026-11-22T10:01:33.000000Z",
        }
    )


class RevocationListAnswer(Answer):
    """What ended, in the order in which it did."""

    items = list_of(fields.Nested(RevocationAnswer), 1000)
    next_since = Integer(
        0, 2**63 - 1, metadata={"description": "To be sent as `since` the next time.", "example": 4711}
    )
    more = Boolean(metadata={"description": "Whether there is more at once.", "example": False})
