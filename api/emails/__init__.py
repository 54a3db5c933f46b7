"""E-mail addresses: confirmed by a letter before they count."""

from pathlib import Path

from api.emails import service
from api.emails.resources import EmailConfirmation, EmailReversion, EmailVerifications
from api.emails.service import CONFIRM_URL, CONFIRMED_BY, REVERT_SECONDS, REVERT_URL, TOKEN_SECONDS
from api.kit.feature import Feature
from api.sessions.service import UnverifiedSignIn
from api.users.service import EmailChangeRequested, SignUpRefused, UserCreated, UserDeleted, UsersImported

feature = Feature(
    name="emails",
    summary="Confirm an e-mail address by a letter; change it safely.",
    requires=("users", "sessions", "mail"),
    resources=(
        ("/v1/email-verifications", EmailVerifications),
        ("/v1/email-verifications/confirm", EmailConfirmation),
        ("/v1/email-changes/revert", EmailReversion),
    ),
    settings=(TOKEN_SECONDS, CONFIRM_URL, CONFIRMED_BY, REVERT_SECONDS, REVERT_URL),
    listeners=(
        (UserCreated, service.verify_user),
        (UnverifiedSignIn, service.verify_who_signs_in),
        (SignUpRefused, service.tell_of_refusal),
        (EmailChangeRequested, service.verify_new_address),
        (UserDeleted, service.withdraw),
        (UsersImported, service.withdraw_with_import),
    ),
    tasks={service.KIND: service.write_letter},
    personal_data=service.personal_data,
    letters=Path(__file__).parent / "letters",
    examples=Path(__file__).parent / "examples.json",
)
