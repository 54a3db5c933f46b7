"""What can be done with passwords, whoever asks for it."""

from uuid import UUID

from api.kit.identity import Identity
from api.kit.validation import refuse
from api.sessions import service as sessions
from api.users import service as users
from schemas.base import NULL


def change(
    caller: Identity, user_id: UUID, current_password: str | None, new_password: str, address: str | None
) -> None:
    """Change a password and end the user's sessions, but for the caller's, in one unit of work.

    Raises WrongPassword, NotFound, TooManyAttempts, ValidationFailed, or Overloaded when too many sign up
    or in.
    """
    if current_password is not None:
        users.change_password(user_id, current_password, new_password, address)
    elif user_id != caller.user_id:
        users.set_password(user_id, new_password)
    else:
        raise refuse("current_password", NULL)
    sessions.end_all(user_id, keep=caller.session_id, reason="password_changed")
