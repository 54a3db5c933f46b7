"""Confirming e-mail addresses as it crosses the wire."""

from schemas.base import Request, one_time_token
from schemas.users import new_password, password


class EmailConfirm(Request):
    """What confirming an address takes."""

    token = one_time_token()
    password = password()


class EmailRevert(Request):
    """What taking a change of address back takes."""

    token = one_time_token()
    new_password = new_password()
