"""Passwords as they cross the wire."""

from schemas.base import Request
from schemas.users import new_password, password


class PasswordChange(Request):
    """What changing a password takes."""

    current_password = password(required=True, allow_none=True)
    new_password = new_password()
