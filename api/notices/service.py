"""What users are told of without asking."""

from uuid import UUID

from api.kit import clock, mail
from api.kit.config import PUBLIC_URL
from api.kit.service import setting
from api.sessions.service import RefreshTokenReuse
from api.users import service as users
from api.users.credentials import PasswordChanged


def tell_of_password(event: PasswordChanged) -> None:
    _tell(event.user_id, "password_changed")


def tell_of_reuse(event: RefreshTokenReuse) -> None:
    _tell(event.user_id, "refresh_token_reused")


def _tell(user_id: UUID, letter: str) -> None:
    user = users.get(user_id)
    if user.email is not None:
        at = clock.now().strftime("%Y-%m-%d %H:%M UTC")
        values = {"name": user.display_name or user.username, "service": setting(PUBLIC_URL), "at": at}
        mail.post(letter, user.email, user.locale, values, about=user.id)
