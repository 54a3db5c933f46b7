"""E-mail addresses: confirmed by a letter before they count."""

from pathlib import Path

from api.emails import service
from api.emails.resources import EmailConfirmation, EmailVerifications
from api.emails.service import CONFIRM_URL, TOKEN_SECONDS
from api.kit.feature import Feature
from api.users.service import EmailChangeRequested, UserCreated, UserDeleted

feature = Feature(
    name="emails",
    summary="Confirm an e-mail address by a letter; change it safely.",
    requires=("users", "mail"),
    resources=(
        ("/v1/email-verifications", EmailVerifications),
        ("/v1/email-verifications/confirm", EmailConfirmation),
    ),
    settings=(TOKEN_SECONDS, CONFIRM_URL),
    listeners=(
        (UserCreated, service.verify_new_user),
        (EmailChangeRequested, service.verify_new_address),
        (UserDeleted, service.withdraw),
    ),
    tasks={service.KIND: service.write_letter},
    letters=Path(__file__).parent / "letters",
)
