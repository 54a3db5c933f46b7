"""What can be done with e-mail addresses, whoever asks for it."""

from contextlib import suppress
from typing import Any
from uuid import UUID

from api.kit import mail, one_time, work
from api.kit.config import PUBLIC_URL
from api.kit.outbox import owe
from api.kit.problems import NotFound
from api.kit.service import setting
from api.kit.settings import Setting, integer, one_of
from api.kit.validation import refuse
from api.sessions import signing_out
from api.sessions.service import UnverifiedSignIn
from api.users import credentials, letters
from api.users import service as users
from api.users.models import User
from api.users.service import EmailChangeRequested, SignUpRefused, UserCreated, UserDeleted, UsersImported
from schemas.base import REQUIRED

KIND = "email_verification"  # in the outbox, and of one-time tokens
REVERT = "email_change"  # a letter, and of one-time tokens
DAY = 86400  # seconds
TOKEN_SECONDS = Setting(
    "EMAIL_TOKEN_SECONDS", "For so long the token of a letter that confirms an address is good.", DAY,
    integer(300, 30 * DAY),
)  # fmt: skip
CONFIRM_URL = Setting(
    "EMAIL_CONFIRM_URL",
    "Page of the frontend that confirms an address, with `{token}` in its fragment: letters link to it.",
    "",
    mail.read_link,
    default_text="none: letters hold the token alone",
)
CONFIRMED_BY = Setting(
    "EMAIL_CONFIRMED_BY",
    "What confirms an address: with `letter` the token of a letter alone; with `letter_and_password` the "
    "account's password as well, so that nobody confirms an account that somebody else made for them.",
    "letter",
    one_of("letter", "letter_and_password"),
)
REVERT_SECONDS = Setting(
    "EMAIL_REVERT_SECONDS",
    "For so long the token of a letter that takes a change of address back is good.",
    7 * DAY,
    integer(3600, 90 * DAY),
)
REVERT_URL = Setting(
    "EMAIL_REVERT_URL",
    "Page of the frontend that takes a change of address back, with `{token}` in its fragment: letters "
    "link to it.",
    "",
    mail.read_link,
    default_text="none: letters hold the token alone",
)


def verify_user(event: UserCreated) -> None:
    """Owe somebody new the letter that confirms their address: their row is at hand, and locked."""
    _write_letter(users.get(event.user_id))


def verify_who_signs_in(event: UnverifiedSignIn) -> None:
    request_verification(event.user_id)


def tell_of_refusal(event: SignUpRefused) -> None:
    """Tell who signed up privately that there is an account already, or to choose another username."""
    if mail.may_be_asked_for("sign_up_refused", event.email):
        values = {"taken": event.taken, "service": setting(PUBLIC_URL)}
        mail.post("sign_up_refused", event.email, event.locale, values)


def verify_new_address(event: EmailChangeRequested) -> None:
    """Have a new address confirmed, and tell the old one, which can take the change back if it counted."""
    request_verification(event.user_id)
    user = users.get(event.user_id)
    if user.email is None:
        return
    new = {"address": user.pending_email}
    if user.email_verified:
        letters.post_token(REVERT, user, user.email, user.email, REVERT_SECONDS, REVERT_URL, **new)
    else:
        values = new | {"name": letters.name_of(user), "token": None}
        mail.post(REVERT, user.email, user.locale, values, about=user.id)


def withdraw(event: UserDeleted) -> None:
    """Make the tokens of a user who was deleted good no more."""
    one_time.withdraw(event.user_id, KIND, REVERT)


def withdraw_with_import(event: UsersImported) -> None:
    """Do the same for users whom a file deleted, or suspended."""
    one_time.withdraw_of(event.whose("status"), KIND, REVERT)


def personal_data(user_id: UUID) -> list[dict[str, Any]]:
    """Return which letters with a token a user was sent."""
    return one_time.held_about(user_id, KIND, REVERT)


def request_verification(user_id: UUID) -> None:
    """Owe a user the letter that confirms an address; whether there is one to confirm is seen later."""
    owe(KIND, {"user_id": str(user_id)}, about=user_id)


def write_letter(content: dict[str, Any]) -> None:
    """Write the letter that confirms an address, if there is one to confirm by now."""
    with suppress(NotFound):  # who was deleted meanwhile
        _write_letter(users.locked(UUID(content["user_id"])))


def _write_letter(user: User) -> None:
    target = users.address_to_confirm(user)
    if target is not None and mail.may_be_asked_for(KIND, target[0]):
        one_time.withdraw(user.id, KIND)  # at another address
        letters.post_token(KIND, user, *target, TOKEN_SECONDS, CONFIRM_URL)


def confirm(token: str, password: str | None, client: str | None) -> User:
    """Confirm the address that a token was sent to, in the client of an address.

    A password that is given, or has to be, must be the account's.
    Raises ValidationFailed, EmailTaken, WrongPassword, TooManyAttempts, or Overloaded when too many sign up
    or in.
    """
    if password is not None or setting(CONFIRMED_BY) == "letter_and_password":
        _check_password(token, password, client)
    proof = users.prove(KIND, token)
    user = None if proof is None else users.confirm_email(proof.user_id, proof.address)
    if user is None:
        raise refuse("token", one_time.UNUSABLE)
    return user


def revert(token: str, new_password: str) -> None:
    """Take a change of address back and set a new password, in one unit of work.

    Who had the account meanwhile has nothing of it left: every session ends, and of the letters to take
    changes back those from before this one stay good, those that came later do not.
    Raises ValidationFailed, EmailTaken, or Overloaded when too many sign up or in.
    """
    proof = credentials.set_by_token(REVERT, token, new_password, takes_back=True)
    one_time.withdraw_later_than(proof, REVERT)
    signing_out.end_all(proof.user_id, keep=None, reason="email_change_reverted")


def _check_password(token: str, password: str | None, client: str | None) -> None:
    if password is None:
        raise refuse("password", REQUIRED)
    with work.reading():
        seen = one_time.look_at(KIND, token)
    if seen is None:
        raise refuse("token", one_time.UNUSABLE)
    credentials.with_own_password(seen.user_id, password, client)
