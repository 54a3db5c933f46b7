"""Users as they cross the wire."""

from typing import Any

from marshmallow import fields

from schemas.base import (
    Answer,
    Boolean,
    Id,
    Instant,
    Integer,
    JsonObject,
    Matching,
    PageAnswer,
    PageQuery,
    Request,
    Text,
    Timestamp,
    Verbatim,
    list_of,
    one_of,
)
from schemas.messages import Phrase

USERNAME_MAXIMUM = 80  # code points
SKELETON_MAXIMUM = 160  # code points: of one character may come several, such as ae
EMAIL_MAXIMUM = 254  # octets of an address in SMTP (RFC 5321 section 4.5.3.1.3)
PASSWORD_MINIMUM = 8  # code points (NIST SP 800-63B-4)
PASSWORD_BYTES = 1024
METADATA_MAXIMUM = 16384  # bytes
ROLES_MAXIMUM = 20  # of one user: every access token has them
SEARCH_MAXIMUM = 200  # code points


def _username(**kwargs: Any) -> Text:
    text = (
        "A name without spaces or `@`; unique without regard to case, after normalisation, and among names "
        "that look alike. Some are reserved (`username_reserved`)."
    )
    return Text(
        minimum=1,
        maximum=USERNAME_MAXIMUM,
        metadata={"description": text, "example": "mina"},
        **kwargs,
    )


def _email(**kwargs: Any) -> Text:
    text = "An address; unique without regard to case, after normalisation."
    return Text(
        minimum=3,
        maximum=EMAIL_MAXIMUM,
        metadata={"description": text, "format": "email", "example": "mina@example.com"},
        **kwargs,
    )


def password(**kwargs: Any) -> Verbatim:
    """Return the field of a password that is already somebody's."""
    metadata = {"format": "password", "example": "correct horse battery staple"}
    return Verbatim(minimum=1, maximum=PASSWORD_BYTES, metadata=metadata, **kwargs)


def new_password() -> Verbatim:
    """Return the field of a password that is to become somebody's."""
    return Verbatim(
        minimum=PASSWORD_MINIMUM,
        maximum=PASSWORD_BYTES,
        required=True,
        metadata={
            "description": "At least 8 code points and at most 1,024 bytes; any characters. Refused are "
            "passwords that attackers try first (`password_too_common`), and those that contain the "
            "username, the local part of the e-mail address or the name of the service "
            "(`password_contains_name`).",
            "format": "password",
            "example": "another horse battery staple",
        },
    )


def _display_name() -> Text:
    return Text(minimum=1, maximum=200, allow_none=True, metadata={"example": "Mina Kim"})


def _locale() -> Matching:
    return Matching(
        r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*",
        hint=Phrase("Must be a language tag such as en or ko-KR."),
        minimum=2,
        maximum=35,
        allow_none=True,
        metadata={"description": "A language tag (RFC 5646).", "example": "ko-KR"},
    )


def _metadata(name: str, description: str, **kwargs: Any) -> JsonObject:
    return JsonObject(
        METADATA_MAXIMUM,
        data_key=name,
        metadata={"description": f"{description} At most 16 KiB.", "example": {"theme": "dark"}},
        **kwargs,
    )


def _reason(**kwargs: Any) -> Text:
    text = "Why, for administrators: the user is not shown it."
    return Text(minimum=1, maximum=500, metadata={"description": text, "example": "Sends spam."}, **kwargs)


class UserPath(Request):
    """The path of one user."""

    user_id = Id(me=True, required=True, metadata={"description": "A user's id, or `me`.", "example": "me"})


class UserCreate(Request):
    """What signing up takes."""

    username = _username(required=True)
    email = _email(required=True)
    password = new_password()
    display_name = _display_name()
    locale = _locale()
    user_metadata = _metadata("metadata", "The user's own.")


class UserPatch(Request):
    """A merge patch of a user (RFC 7396): null takes a value away, what is absent stays."""

    username = _username()
    email = _email()
    display_name = _display_name()
    locale = _locale()
    user_metadata = _metadata("metadata", "Merged member by member into the user's own.", allow_none=True)
    app_metadata = _metadata("app_metadata", "Merged likewise; only administrators may.", allow_none=True)


class SuspensionCreate(Request):
    """What suspending a user takes."""

    reason = _reason(required=True)
    until = Instant(
        required=True,
        allow_none=True,
        metadata={"description": "When it ends by itself; null: never.", "example": None},
    )


class SuspensionAnswer(Answer):
    """Why and for how long a user may do nothing: for administrators alone."""

    reason = _reason(attribute="suspension_reason")
    suspended_at = Timestamp(metadata={"example": "2026-11-22T09:30:00.000000Z"})
    until = Timestamp(
        attribute="suspended_until",
        allow_none=True,
        metadata={"description": "When it ends by itself; null: never.", "example": None},
    )


class UserExportAnswer(Answer):
    """Everything that is held about a user, but for secrets."""

    exported_at = Timestamp(metadata={"example": "2026-11-22T09:30:00.000000Z"})
    data = fields.Dict(
        keys=Text(maximum=40),
        metadata={
            "description": "By feature, in a form of its own: what it holds about the user.",
            "example": {"users": {"username": "mina"}, "sessions": []},
        },
    )


def _instant(description: str) -> Instant:
    return Instant(metadata={"description": description, "example": "2026-11-22T09:30:00Z"})


class UserList(PageQuery):
    """The query of the list of users."""

    status = Text(
        maximum=20,
        validate=one_of("active", "suspended", "deleted"),
        metadata={"description": "What their state is."},
    )
    email = Text(
        minimum=1,
        maximum=EMAIL_MAXIMUM,
        metadata={"description": "The whole address, compared as when signing in."},
    )
    username = Text(
        minimum=1,
        maximum=USERNAME_MAXIMUM,
        metadata={"description": "The whole name, compared as when signing in."},
    )
    email_verified = Boolean(
        parameter=True, metadata={"description": "Whether the address is known to be theirs."}
    )
    role = Text(
        minimum=1,
        maximum=80,
        metadata={"description": "A role that they have.", "example": "admin"},
    )
    created_after = _instant("Made at this instant or later.")
    created_before = _instant("Made before this instant.")
    last_seen_before = _instant(
        "Not seen at this instant or later; who never signed in counts as seen when they were made."
    )
    q = Text(
        minimum=1,
        maximum=SEARCH_MAXIMUM,
        metadata={
            "description": "Looked for in username, e-mail address and display name, without regard to case "
            "and accents; three characters and more anywhere, fewer where words begin. No character has a "
            "special meaning.",
            "example": "mina",
        },
    )
    count = Text(
        maximum=20,
        load_default="none",
        validate=one_of("none", "estimate", "exact"),
        metadata={
            "description": "Whether `total` says how many fit, on all pages together: `estimate` goes by "
            "statistics at the cost of a page, `exact` looks at all of them."
        },
    )
    sort = Text(
        maximum=20,
        load_default="-created_at",
        validate=one_of("created_at", "-created_at"),
        metadata={
            "description": "The order; `-` puts the newest first.",
            "x-enum-varnames": ["OLDEST_FIRST", "NEWEST_FIRST"],
        },
    )


class UserAnswer(Answer):
    """A person, or a service, with an account."""

    id = Id(metadata={"example": "0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10"})
    username = _username(allow_none=True)
    email = _email(allow_none=True)
    email_verified = Boolean(metadata={"example": False})
    pending_email = Text(
        maximum=EMAIL_MAXIMUM,
        allow_none=True,
        metadata={"description": "The address that is to be confirmed, if any.", "example": None},
    )
    display_name = _display_name()
    locale = _locale()
    status = Text(
        maximum=20,
        metadata={"description": "`active`, `suspended` or `deleted`; more may come.", "example": "active"},
    )
    roles = list_of(Text(maximum=80, metadata={"example": "admin"}), 200, metadata={"example": []})
    user_metadata = _metadata("metadata", "The user's own.")
    app_metadata = _metadata("app_metadata", "Written by administrators.")
    created_at = Timestamp(metadata={"example": "2026-11-22T09:30:00.000000Z"})
    updated_at = Timestamp(metadata={"example": "2026-11-22T09:30:00.000000Z"})
    last_seen_at = Timestamp(
        allow_none=True,
        metadata={
            "description": "The last sign-in or refresh; the entity tag does not change with it.",
            "example": "2026-11-22T09:31:00.000000Z",
        },
    )


class UserPageAnswer(PageAnswer):
    """A page of users."""

    items = list_of(fields.Nested(UserAnswer), 200)
    total = Integer(
        0,
        2**53,
        allow_none=True,
        metadata={"description": "How many fit; null unless `count` asks for it.", "example": None},
    )
