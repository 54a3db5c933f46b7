"""Passwords: changed by who knows them and by administrators, set anew by a letter."""

from pathlib import Path

from api.kit.feature import Feature
from api.passwords import service
from api.passwords.resources import PasswordReset, PasswordResets, UserPassword
from api.passwords.service import RESET_SECONDS, RESET_URL
from api.users.credentials import PasswordChanged
from api.users.service import UserChanged, UserDeleted, UsersImported

feature = Feature(
    name="passwords",
    summary="Change a password, or set a new one by a letter, and sign out whoever knew the old one.",
    requires=("users", "sessions", "mail"),
    resources=(
        ("/v1/users/<user_id>/password", UserPassword),
        ("/v1/password-resets", PasswordResets),
        ("/v1/password-resets/confirm", PasswordReset),
    ),
    settings=(RESET_SECONDS, RESET_URL),
    listeners=(
        (PasswordChanged, service.withdraw),
        (UserDeleted, service.withdraw),
        (UserChanged, service.withdraw_with_address),
        (UsersImported, service.withdraw_with_import),
    ),
    tasks={service.KIND: service.write_letter},
    personal_data=service.personal_data,
    letters=Path(__file__).parent / "letters",
    examples=Path(__file__).parent / "examples.json",
)
