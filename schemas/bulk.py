"""Imports and exports of users as they cross the wire."""

from marshmallow import fields

from schemas.base import (
    Answer,
    Boolean,
    Id,
    Instant,
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
from schemas.users import EMAIL_MAXIMUM, ROLES_MAXIMUM, UserPatch, new_password

HASH_MAXIMUM = 255  # characters
END = "end_of_export"  # the member, or first cell, of the last line of an export
_MOST = 2**53 - 1
_IMPORT_ID = "0199d2a4-9a31-7d52-8c3e-5b7f1a2d4e60"


class UserRow(UserPatch):
    """A row of an import."""

    id = Id()
    email_verified = Boolean()
    pending_email = Text(minimum=3, maximum=EMAIL_MAXIMUM)
    password = new_password()
    password_hash = Verbatim(minimum=1, maximum=HASH_MAXIMUM)
    password_changed_at = Instant()
    status = Text(maximum=20, validate=one_of("active", "suspended", "deleted"))
    roles = list_of(Text(minimum=1, maximum=80), ROLES_MAXIMUM)
    created_at = Instant()
    updated_at = Instant()
    last_seen_at = Instant()
    deleted_at = Instant()
    suspended_at = Instant()
    suspended_until = Instant()
    suspension_reason = Text(minimum=1, maximum=500)


class UserImportPath(Request):
    """The path of one import."""

    import_id = Id(required=True, metadata={"description": "An import's id.", "example": _IMPORT_ID})


class UserImportCreate(Request):
    """The query of an import."""

    dry_run = Boolean(
        parameter=True,
        load_default=False,
        metadata={"description": "`true` tells what would come of it, and changes no user."},
    )
    on_conflict = Text(
        maximum=10,
        load_default="refuse",
        validate=one_of("refuse", "skip", "update"),
        metadata={
            "description": "What to do with a row whose id, username or e-mail address a user has already: "
            "`refuse` it, `skip` it, or `update` that user."
        },
    )


class UserImportAnswer(Answer):
    """An import of users, and how far it is."""

    id = Id(metadata={"example": _IMPORT_ID})
    status = Text(
        maximum=20,
        metadata={
            "description": "`uploading`, `waiting`, `running`, `finished` or `failed`; more may come.",
            "example": "running",
        },
    )
    format = Text(maximum=10, metadata={"description": "`ndjson` or `csv`.", "example": "ndjson"})
    dry_run = Boolean(metadata={"example": False})
    on_conflict = Text(maximum=10, metadata={"example": "refuse"})
    bytes = Integer(0, _MOST, metadata={"description": "Of the file.", "example": 412000000})
    position = Integer(0, _MOST, data_key="bytes_done", metadata={"example": 206000000})
    rows = Integer(0, _MOST, metadata={"description": "That were read.", "example": 500000})
    created = Integer(0, _MOST, metadata={"example": 499990})
    updated = Integer(0, _MOST, metadata={"example": 0})
    skipped = Integer(0, _MOST, metadata={"example": 0})
    refused = Integer(0, _MOST, metadata={"example": 10})
    created_at = Timestamp(metadata={"example": "2026-11-22T09:30:00.000000Z"})
    started_at = Timestamp(allow_none=True, metadata={"example": "2026-11-22T09:30:01.000000Z"})
    finished_at = Timestamp(allow_none=True, metadata={"example": None})
    error = Text(
        maximum=40,
        allow_none=True,
        metadata={
            "description": "Why it failed: `invalid_header`, or `not_permitted` when whoever sent it may no "
            "longer do what they could then; more may come.",
            "example": None,
        },
    )


class UserImportPageAnswer(PageAnswer):
    """A page of imports."""

    items = list_of(fields.Nested(UserImportAnswer), 200)


class UserImportErrorAnswer(Answer):
    """One thing that is wrong with a row, which was left out for it."""

    line = Integer(1, _MOST, metadata={"description": "Where the row begins.", "example": 17})
    pointer = Verbatim(
        maximum=200,
        metadata={
            "description": "A JSON pointer (RFC 6901) to the member, or to the column; empty for the row.",
            "example": "/email",
        },
    )
    code = Text(maximum=40, metadata={"example": "email_taken"})
    detail = Text(maximum=300, metadata={"example": "Another account has this e-mail address."})


class UserImportErrorPageAnswer(PageAnswer):
    """A page of what is wrong with rows, in the order of the file."""

    items = list_of(fields.Nested(UserImportErrorAnswer), 200)


class UserImportErrorList(PageQuery):
    """The query of the list of an import's errors."""


class UserExport(Request):
    """The query of an export."""

    format = Text(
        maximum=10,
        load_default="ndjson",
        validate=one_of("ndjson", "csv"),
        metadata={"description": "`ndjson` or `csv`."},
    )
    secrets = Boolean(
        parameter=True,
        load_default=False,
        metadata={"description": "`true` adds `roles` and `password_hash`; needs `users:export-secrets`."},
    )
