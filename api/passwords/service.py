"""What can be done with passwords, whoever asks for it."""

from uuid import UUID

from api.kit.identity import Identity
from api.kit.validation import refuse
from api.sessions import service as sessions
from api.users import service as users
from schemas.base import NULL


def change(caller: Identity, user_id: UUID, current_password: str | None, new_password: str) -> None:
    """Change a password and end the user's sessions, but for the caller's, in one unit of work.

    Raises WrongPassword, NotFound, ValidationFailed, or Overloaded when too many sign up or in.
    """
    if current_password is None and user_id == caller.user_id:
        raise refuse("current_password", NULL)
    users.change_password(user_id, current_password, new_password)
    sessions.end_all(user_id, keep=caller.session_id, reason="password_changed")
