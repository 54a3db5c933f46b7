"""Passwords as they cross the wire."""

from schemas.base import Request, Text, one_time_token
from schemas.users import EMAIL_MAXIMUM, new_password, password


class PasswordChange(Request):
    """What changing a password takes."""

    current_password = password(required=True, allow_none=True)
    new_password = new_password()


class PasswordResetCreate(Request):
    """What asking for a letter to set a new password takes."""

    email = Text(
        minimum=3,
        maximum=EMAIL_MAXIMUM,
        required=True,
        metadata={"format": "email", "example": "mina@example.com"},
    )


class PasswordResetConfirm(Request):
    """What setting a new password by a letter takes."""

    token = one_time_token()
    new_password = new_password()
