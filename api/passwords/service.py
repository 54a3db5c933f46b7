"""What can be done with passwords, whoever asks for it."""

from typing import Any
from uuid import UUID

from api.kit import mail, one_time
from api.kit.identity import Identity
from api.kit.outbox import owe
from api.kit.settings import Setting, integer
from api.kit.validation import refuse
from api.sessions import signing_out
from api.users import credentials, letters
from api.users import service as users
from api.users.credentials import PasswordChanged
from api.users.service import UserChanged, UserDeleted, UsersImported
from schemas.base import NULL

KIND = "password_reset"  # in the outbox, and of one-time tokens
RESET_SECONDS = Setting(
    "PASSWORD_RESET_SECONDS",
    "For so long the token of a letter that sets a new password is good.",
    3600,
    integer(300, 86400),
)
RESET_URL = Setting(
    "PASSWORD_RESET_URL",
    "Page of the frontend that sets a new password, with `{token}` in its fragment: letters link to it.",
    "",
    mail.read_link,
    default_text="none: letters hold the token alone",
)


def change(
    caller: Identity, user_id: UUID, current_password: str | None, new_password: str, address: str | None
) -> None:
    """Change a password and end the user's sessions, but for the caller's, in one unit of work.

    Raises WrongPassword, NotFound, PermissionDenied, TooManyAttempts, ValidationFailed, or Overloaded when
    too many sign up or in.
    """
    if current_password is not None:
        credentials.change_password(user_id, current_password, new_password, address)
    elif user_id != caller.user_id:
        credentials.set_password(user_id, new_password, held=caller.permissions)
    else:
        raise refuse("current_password", NULL)
    signing_out.end_all(user_id, keep=caller.session_id, reason="password_changed")


def request_reset(email: str) -> None:
    """Owe whoever has an address a letter to set a new password: the same work if nobody has it."""
    owe(KIND, {"email": email})


def write_letter(content: dict[str, Any]) -> None:
    """Write the letter to set a new password, if somebody has the address."""
    user = users.with_email(content["email"])
    if user is None or user.email is None or user.email_key is None:
        return
    if mail.may_be_asked_for(KIND, user.email):
        letters.post_token(KIND, user, user.email, user.email_key, RESET_SECONDS, RESET_URL)


def reset(token: str, new_password: str) -> None:
    """Set a new password by the token of a letter, and end every session, in one unit of work.

    Raises ValidationFailed, or Overloaded when too many sign up or in.
    """
    proof = credentials.set_by_token(KIND, token, new_password)
    signing_out.end_all(proof.user_id, keep=None, reason="password_reset")


def withdraw(event: PasswordChanged | UserDeleted) -> None:
    """Make a user's tokens good no more: the password is another, or the account is gone."""
    one_time.withdraw(event.user_id, KIND)


def withdraw_with_address(event: UserChanged) -> None:
    """Make a user's tokens good no more that went to an address which is theirs no more."""
    if "email_key" in event.members:
        one_time.withdraw(event.user_id, KIND)


def withdraw_with_import(event: UsersImported) -> None:
    """Do all of that for users whom a file changed so."""
    one_time.withdraw_of(event.whose("password_hash", "status", "email_key"), KIND)


def personal_data(user_id: UUID) -> list[dict[str, Any]]:
    """Return which letters with a token a user was sent."""
    return one_time.held_about(user_id, KIND)
