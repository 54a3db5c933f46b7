"""Letters that carry a one-time token to a user."""

from typing import Any

from api.kit import mail, one_time
from api.kit.config import PUBLIC_URL
from api.kit.service import setting
from api.kit.settings import Setting
from api.users.models import User


def post_token(
    purpose: str,
    user: User,
    to: str,
    proves: str,
    seconds: Setting[int],
    page: Setting[str],
    **values: Any,
) -> None:
    """Owe a user the letter `purpose`, with a token for it that proves an address.

    The letter has the page's link, or without such a page the token alone; and how long it is good.
    """
    token = one_time.issue(purpose, user.id, proves, setting(seconds))
    values |= {"name": name_of(user), "service": setting(PUBLIC_URL)}
    values |= {"token": token, "link": mail.link(setting(page), token), **mail.lifetime(setting(seconds))}
    mail.post(purpose, to, user.locale, values, about=user.id)


def name_of(user: User) -> str | None:
    """Return what a letter calls a user."""
    return user.display_name or user.username
