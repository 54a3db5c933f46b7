"""Sign-in: sessions, the tokens that carry them, devices."""

from api.kit.feature import Feature
from api.kit.identity import Authenticator, Identity, Permission
from api.sessions import service
from api.sessions.resources import (
    CurrentSession,
    KeySet,
    Refresh,
    Sessions,
    UserSession,
    UserSessions,
)
from api.sessions.service import (
    ABSOLUTE_SECONDS,
    IDLE_SECONDS,
    OVERLAP_SECONDS,
    InvalidCredentials,
    RefreshTokenReuse,
    RefreshTokenReused,
    SessionEnded,
    SessionStarted,
)
from api.sessions.tokens import ACCESS_TOKEN_SECONDS, InvalidRefreshToken, init_tokens
from api.users.service import UserDeleted


class _AccessTokens(Authenticator):
    """Knows callers by their access token."""

    def recognises(self, credential: str) -> bool:
        return credential.count(".") == 2

    def authenticate(self, credential: str) -> Identity:
        return service.authenticate(credential)


feature = Feature(
    name="sessions",
    summary="Sign in, stay signed in, see one's devices, sign out.",
    requires=("users",),
    resources=(
        ("/v1/sessions", Sessions),
        ("/v1/sessions/refresh", Refresh),
        ("/v1/sessions/current", CurrentSession),
        ("/v1/users/<user_id>/sessions", UserSessions),
        ("/v1/users/<user_id>/sessions/<session_id>", UserSession),
        ("/.well-known/jwks.json", KeySet),
    ),
    settings=(ACCESS_TOKEN_SECONDS, IDLE_SECONDS, ABSOLUTE_SECONDS, OVERLAP_SECONDS),
    permissions=(
        Permission("sessions:read", "See every user's sessions."),
        Permission("sessions:write", "End every user's sessions."),
    ),
    problems=(InvalidCredentials, InvalidRefreshToken, RefreshTokenReused, SessionEnded),
    events=(SessionStarted, RefreshTokenReuse),
    listeners=((UserDeleted, service.end_with_user),),
    authenticators=(_AccessTokens(),),
    start=init_tokens,
)
