"""Confirming e-mail addresses as it crosses the wire."""

from schemas.base import Request, one_time_token


class EmailConfirm(Request):
    """What confirming an address takes."""

    token = one_time_token()
