"""The audit trail as it crosses the wire."""

from marshmallow import fields

from schemas.base import (
    Answer,
    Id,
    Instant,
    JsonObject,
    Matching,
    PageAnswer,
    PageQuery,
    Text,
    Timestamp,
    list_of,
)
from schemas.messages import Phrase

_SOMEBODY = "0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10"
_A_SESSION = "0199d2a4-8c2f-7a10-8e44-1b9d3f5a7c20"
DETAILS_MAXIMUM = 4096  # bytes


def _any(description: str) -> dict[str, str]:
    return {"description": description}


class AuditEventList(PageQuery):
    """The query of the audit trail."""

    action = Matching(
        r"[a-z][a-z0-9_]*",
        hint=Phrase("Must be an action such as user_created."),
        minimum=1,
        maximum=60,
        load_default=None,
        metadata=_any("Only this action."),
    )
    actor_id = Id(load_default=None, metadata=_any("Only what this user did."))
    subject_id = Id(load_default=None, metadata=_any("Only what happened to this user."))
    after = Instant(load_default=None, metadata=_any("Only from this instant on."))
    before = Instant(load_default=None, metadata=_any("Only before this instant."))


class UserAuditEventList(PageQuery):
    """The query of what happened to one user."""


class AuditEventAnswer(Answer):
    """Something that was done."""

    id = Id(metadata={"example": "0199d2a4-9d40-7b21-9f55-2cae4f6b8d31"})
    at = Timestamp(metadata={"example": "2026-11-22T09:31:00.000000Z"})
    action = Text(
        maximum=60,
        metadata={"description": "What was done; more may come.", "example": "authn_login_success"},
    )
    actor_kind = Text(
        maximum=20,
        metadata={
            "description": "Who did it: a `user`; `nobody`, who presented no credential; the `command` line; "
            "the `service` by itself. To users themselves another one is an `administrator`.",
            "example": "user",
        },
    )
    actor_id = Id(allow_none=True, metadata={"description": "The user who did it.", "example": _SOMEBODY})
    session_id = Id(
        allow_none=True,
        metadata={"description": "The session that it was done with.", "example": _A_SESSION},
    )
    ip = Text(
        maximum=45, allow_none=True, metadata={"description": "Where it came from.", "example": "192.0.2.7"}
    )
    request_id = Text(
        maximum=128, allow_none=True, metadata={"example": "0199d2a4-9d3f-7b02-b1d7-5d2c8e0f6a94"}
    )
    subject_id = Id(
        allow_none=True, metadata={"description": "The user to whom it was done.", "example": _SOMEBODY}
    )
    details = JsonObject(
        DETAILS_MAXIMUM,
        metadata={
            "description": "What else is known, by action, such as the `members` that were changed or the "
            "`reason` why sessions ended.",
            "example": {},
        },
    )


class AuditEventPageAnswer(PageAnswer):
    """A page of the audit trail."""

    items = list_of(fields.Nested(AuditEventAnswer), 200)
