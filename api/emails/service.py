"""What can be done with e-mail addresses, whoever asks for it."""

from contextlib import suppress
from typing import Any
from uuid import UUID

from api.kit import mail, one_time
from api.kit.config import PUBLIC_URL
from api.kit.outbox import owe
from api.kit.problems import NotFound
from api.kit.service import setting
from api.kit.settings import Setting, integer
from api.kit.validation import refuse
from api.sessions.service import UnverifiedSignIn
from api.users import service as users
from api.users.models import User
from api.users.service import EmailChangeRequested, SignUpRefused, UserCreated, UserDeleted

KIND = "email_verification"  # in the outbox, and of one-time tokens
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


def verify_user(event: UserCreated | UnverifiedSignIn) -> None:
    request_verification(event.user_id)


def tell_of_refusal(event: SignUpRefused) -> None:
    """Tell who signed up privately that there is an account already, or to choose another username."""
    if mail.may_be_asked_for("sign_up_refused", event.email):
        values = {"taken": event.taken, "service": setting(PUBLIC_URL)}
        mail.post("sign_up_refused", event.email, event.locale, values)


def verify_new_address(event: EmailChangeRequested) -> None:
    """Have a new address confirmed, and tell the old one."""
    request_verification(event.user_id)
    user = users.get(event.user_id)
    if user.email is not None:
        values: dict[str, Any] = {"name": user.display_name or user.username, "address": user.pending_email}
        mail.post("email_change", user.email, user.locale, values)


def withdraw(event: UserDeleted) -> None:
    """Make the tokens of a user who was deleted good no more."""
    one_time.withdraw(event.user_id, KIND)


def request_verification(user_id: UUID) -> None:
    """Owe a user the letter that confirms an address; whether there is one to confirm is seen later."""
    owe(KIND, {"user_id": str(user_id)})


def write_letter(content: dict[str, Any]) -> None:
    """Write the letter that confirms an address, if there is one to confirm by now."""
    with suppress(NotFound):  # who was deleted meanwhile
        user = users.locked(UUID(content["user_id"]))
        target = users.address_to_confirm(user)
        if target is not None and mail.may_be_asked_for(KIND, target[0]):
            _post(user, *target)


def confirm(token: str) -> User:
    """Confirm the address that a token was sent to; raises ValidationFailed, or EmailTaken."""
    proof = users.prove(KIND, token)
    user = None if proof is None else users.confirm_email(*proof)
    if user is None:
        raise refuse("token", one_time.UNUSABLE)
    return user


def _post(user: User, address: str, key: str) -> None:
    seconds = setting(TOKEN_SECONDS)
    token = one_time.issue(KIND, user.id, key, seconds)
    values: dict[str, Any] = {"name": user.display_name or user.username, "service": setting(PUBLIC_URL)}
    values |= {"token": token, "link": mail.link(setting(CONFIRM_URL), token), "hours": seconds // 3600}
    mail.post("email_verification", address, user.locale, values)
