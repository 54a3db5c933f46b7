"""Sessions over HTTP."""

import re
from typing import Any
from uuid import UUID

from flask import request
from flask_restful import Resource

from api.kit.addresses import client_address
from api.kit.conditional import content_tag
from api.kit.identity import PUBLIC, SIGNED_IN, Needs, OwnerOr, caller
from api.kit.operation import Answer, operation
from api.kit.problems import NotFound, Overloaded, TooManyAttempts
from api.sessions import endings, service, signing_out
from api.sessions.keys import KEY_SET_SECONDS, keyring
from api.sessions.refreshing import REFRESH_LIMIT, RefreshTokenReused, SessionEnded
from api.sessions.service import Device, InvalidCredentials
from api.sessions.tokens import InvalidRefreshToken
from api.users.credentials import PASSWORD_LIMIT, WrongPassword
from schemas.sessions import (
    AuthorizationServerAnswer,
    KeySetAnswer,
    RefreshToken,
    RevocationList,
    RevocationListAnswer,
    SessionCreate,
    SessionList,
    SessionPageAnswer,
    SessionPath,
    SessionReauthenticate,
    SessionsEnd,
    TokensAnswer,
)
from schemas.users import UserPath

USER_AGENT_MAXIMUM = 500  # characters that are kept
_SIGN_UP = {"identifier": "$response.body#/username", "password": "$request.body#/password"}
_REFRESH_TOKEN = {"refresh_token": "$response.body#/refresh_token"}


def _device() -> Device:
    printable = re.sub(r"[^\x20-\x7e]", "?", request.headers.get("User-Agent", ""))
    return Device(client_address(), printable[:USER_AGENT_MAXIMUM] or None)


class Sessions(Resource):
    @operation(
        "createSession",
        access=PUBLIC,
        repeatable=True,
        body=SessionCreate(),
        answer=(201, TokensAnswer()),
        names={"user_id": "user/id", "session_id": "session/id"},
        follows={"createUser": _SIGN_UP},
        problems=(InvalidCredentials, TooManyAttempts, Overloaded),
        limit=PASSWORD_LIMIT,
    )
    def post(self, **credentials: Any) -> dict[str, Any]:
        """Sign in.

        Send the `access_token` as `Authorization: Bearer` with every other request, and keep the
        `refresh_token` for new ones. A refusal does not tell whether the account exists.
        """
        return service.sign_in(**credentials, device=_device())


class Refresh(Resource):
    @operation(
        "refreshSession",
        access=PUBLIC,
        body=RefreshToken(),
        answer=(200, TokensAnswer()),
        follows={"createSession": _REFRESH_TOKEN, "refreshSession": _REFRESH_TOKEN},
        problems=(InvalidRefreshToken, RefreshTokenReused, SessionEnded),
        limit=REFRESH_LIMIT,
    )
    def post(self, refresh_token: str) -> dict[str, Any]:
        """Exchange a refresh token for new tokens.

        A refresh token is exchanged once: go on with the one in the answer. The token before it may be
        sent again, and gives the same new tokens, as long as those were never used, for an answer may be
        lost, and for a short while after the exchange, so that parallel requests do no harm. Beyond that
        an old token counts as stolen, and the session ends.
        """
        return service.refresh(refresh_token)


class Reauthentication(Resource):
    @operation(
        "reauthenticateSession",
        access=SIGNED_IN,
        body=SessionReauthenticate(),
        answer=(200, TokensAnswer()),
        problems=(WrongPassword, TooManyAttempts, Overloaded),
        limit=PASSWORD_LIMIT,
    )
    def post(self, password: str) -> dict[str, Any]:
        """Make the sign-in of this session fresh, by the password.

        Some operations need a sign-in of the last minutes, and answer 401 `reauthentication_required`
        without one; they accept this session at once. The new access token tells other services by its
        `auth_time`; the refresh token stays the current one.
        """
        return service.reauthenticate(caller(), password, client_address())


class SignOut(Resource):
    @operation(
        "endSessionByRefreshToken",
        access=PUBLIC,
        body=RefreshToken(),
        answer=(204, None),
        follows={"createSession": _REFRESH_TOKEN, "refreshSession": _REFRESH_TOKEN},
        problems=(InvalidRefreshToken,),
        limit=REFRESH_LIMIT,
    )
    def post(self, refresh_token: str) -> None:
        """Sign out by a refresh token, when the access token has expired.

        Any refresh token of the session will do; a session that has ended is no refusal.
        """
        signing_out.sign_out_by_token(refresh_token)


class CurrentSession(Resource):
    @operation("endCurrentSession", access=SIGNED_IN, answer=(204, None))
    def delete(self) -> None:
        """Sign out of this session.

        The session's tokens are refused from the next request on.
        """
        signing_out.sign_out_here(caller())


class UserSessions(Resource):
    @operation(
        "listSessions",
        access=OwnerOr("sessions:read"),
        path=UserPath(),
        query=SessionList(),
        answer=(200, SessionPageAnswer()),
        headers={"Link": "The next page (RFC 8288), when there is one."},
    )
    def get(self, user_id: UUID, **query: Any) -> Answer:
        """List the devices on which a user is signed in."""
        page = service.list_page(user_id, caller().session_id, **query)
        return Answer(page, page.link())

    @operation(
        "endSessions",
        access=OwnerOr("sessions:write"),
        path=UserPath(),
        query=SessionsEnd(),
        answer=(204, None),
        fresh=True,
    )
    def delete(self, user_id: UUID, keep: str | None) -> None:
        """Sign a user out everywhere, or everywhere else.

        `keep=current` leaves the session of this request alone. Needs a fresh sign-in.
        """
        signing_out.sign_out_everywhere(user_id, caller().session_id if keep else None)


class UserSession(Resource):
    @operation(
        "endSession",
        access=OwnerOr("sessions:write"),
        path=SessionPath(),
        answer=(204, None),
        problems=(NotFound,),
    )
    def delete(self, user_id: UUID, session_id: UUID) -> None:
        """Sign a user out on one device."""
        signing_out.sign_out(user_id, session_id)


class KeySet(Resource):
    @operation(
        "getKeySet",
        access=PUBLIC,
        answer=(200, KeySetAnswer()),
        etag=lambda key_set: ".".join(key["kid"] for key in key_set["keys"]),
        max_age=KEY_SET_SECONDS,
        limit=None,
    )
    def get(self) -> dict[str, Any]:
        """Get the public keys that verify access tokens.

        A key is here before the first token that it signed, for as long as caches may keep this answer,
        and until the last one has died.
        """
        return {"keys": [key.as_jwk() for key in keyring().published()]}


class AuthorizationServer(Resource):
    @operation(
        "getAuthorizationServer",
        access=PUBLIC,
        answer=(200, AuthorizationServerAnswer()),
        etag=content_tag,
        database=False,
        max_age=KEY_SET_SECONDS,
    )
    def get(self) -> dict[str, Any]:
        """Get where to find what verifies access tokens (RFC 8414).

        This is no OAuth server: the document is here for libraries that look for the key set by it.
        """
        return service.authorization_server()


class Revocations(Resource):
    @operation(
        "listRevocations",
        access=Needs("revocations:read"),
        query=RevocationList(),
        answer=(200, RevocationListAnswer()),
    )
    def get(self, since: int, limit: int) -> dict[str, Any]:
        """List the sessions and users that ended while tokens of theirs may live.

        For services that verify tokens by themselves: ask again every few seconds, with the
        `next_since` of the answer before, and refuse tokens of the sessions that came.
        """
        return endings.revocations(since, limit)
