"""Sign-in: sessions, the tokens that carry them, devices."""

from pathlib import Path

from api.kit.feature import Chore, Feature
from api.kit.identity import Authenticator, Identity, Permission
from api.sessions import endings, forgetting, service, signing_out
from api.sessions.commands import key
from api.sessions.endings import IDLE_SECONDS, SessionsEnded
from api.sessions.keys import (
    ACCESS_TOKEN_SECONDS,
    CLOCK_SKEW_SECONDS,
    KEY_DAYS,
    KEY_SET_SECONDS,
    SigningKeyMade,
    SigningKeyRetired,
)
from api.sessions.refreshing import (
    OVERLAP_SECONDS,
    REFRESH_LIMIT,
    RefreshAfterEnd,
    RefreshTokenForged,
    RefreshTokenReuse,
    RefreshTokenReused,
    SessionEnded,
)
from api.sessions.resources import (
    AuthorizationServer,
    CurrentSession,
    KeySet,
    Reauthentication,
    Refresh,
    Revocations,
    Sessions,
    SignOut,
    UserSession,
    UserSessions,
)
from api.sessions.service import (
    ABSOLUTE_SECONDS,
    SESSIONS_PER_USER,
    UNVERIFIED_SIGN_IN,
    InvalidCredentials,
    Reauthenticated,
    SessionStarted,
    UnverifiedSignIn,
)
from api.sessions.tokens import InvalidRefreshToken, init_tokens
from api.users.erasure import UsersErased
from api.users.service import UserDeleted, UsersImported
from api.users.standing import UserSuspended


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
        ("/v1/sessions/reauthenticate", Reauthentication),
        ("/v1/sessions/sign-out", SignOut),
        ("/v1/sessions/current", CurrentSession),
        ("/v1/users/<user_id>/sessions", UserSessions),
        ("/v1/users/<user_id>/sessions/<session_id>", UserSession),
        ("/v1/revocations", Revocations),
        ("/.well-known/jwks.json", KeySet),
        ("/.well-known/oauth-authorization-server", AuthorizationServer),
    ),
    settings=(
        ACCESS_TOKEN_SECONDS,
        IDLE_SECONDS,
        ABSOLUTE_SECONDS,
        OVERLAP_SECONDS,
        SESSIONS_PER_USER,
        UNVERIFIED_SIGN_IN,
        REFRESH_LIMIT,
        KEY_DAYS,
        KEY_SET_SECONDS,
        CLOCK_SKEW_SECONDS,
    ),
    permissions=(
        Permission("sessions:read", "See every user's sessions."),
        Permission("sessions:write", "End every user's sessions."),
        Permission("revocations:read", "Follow which sessions and users end."),
    ),
    problems=(InvalidCredentials, InvalidRefreshToken, RefreshTokenReused, SessionEnded),
    events=(
        SessionStarted,
        Reauthenticated,
        UnverifiedSignIn,
        SessionsEnded,
        SigningKeyMade,
        SigningKeyRetired,
        RefreshTokenReuse,
        RefreshAfterEnd,
        RefreshTokenForged,
    ),
    listeners=(
        (UserDeleted, signing_out.end_with_user),
        (UserSuspended, signing_out.end_with_suspension),
        (UsersImported, signing_out.end_with_import),
        (UsersErased, endings.erase),
    ),
    chores=(Chore("old sessions", 3600, forgetting.has_old, forgetting.forget_old),),
    personal_data=service.personal_data,
    authenticators=(_AccessTokens(),),
    commands=(key,),
    start=init_tokens,
    examples=Path(__file__).parent / "examples.json",
)
