"""Letters about what happened to an account, so that its owner notices what they did not do."""

from pathlib import Path

from api.kit.feature import Feature
from api.notices import service
from api.sessions.service import RefreshTokenReuse
from api.users.credentials import PasswordChanged

feature = Feature(
    name="notices",
    summary="Letters about what happened to an account: another password, a refresh token that came back.",
    requires=("users", "sessions", "mail"),
    listeners=(
        (PasswordChanged, service.tell_of_password),
        (RefreshTokenReuse, service.tell_of_reuse),
    ),
    letters=Path(__file__).parent / "letters",
)
