"""Sessions over HTTP."""

import re
from typing import Any
from uuid import UUID

from flask import request
from flask_restful import Resource

from api.kit.identity import PUBLIC, SIGNED_IN, OwnerOr, caller
from api.kit.operation import Answer, operation
from api.kit.problems import NotFound, Overloaded
from api.sessions import service, tokens
from api.sessions.service import Device, InvalidCredentials, RefreshTokenReused, SessionEnded
from api.sessions.tokens import InvalidRefreshToken
from schemas.sessions import (
    KeySetAnswer,
    SessionCreate,
    SessionList,
    SessionListAnswer,
    SessionPath,
    SessionRefresh,
    SessionsEnd,
    TokensAnswer,
)
from schemas.users import UserPath

USER_AGENT_MAXIMUM = 500  # characters that are kept


def _device() -> Device:
    printable = re.sub(r"[^\x20-\x7e]", "?", request.headers.get("User-Agent", ""))
    return Device(request.remote_addr, printable[:USER_AGENT_MAXIMUM] or None)


class Sessions(Resource):
    @operation(
        "createSession",
        access=PUBLIC,
        body=SessionCreate(),
        answer=(201, TokensAnswer()),
        problems=(InvalidCredentials, Overloaded),
    )
    def post(self, **credentials: Any) -> dict[str, Any]:
        """Sign in.

        A refusal does not tell whether the account exists.
        """
        return service.sign_in(**credentials, device=_device())


class Refresh(Resource):
    @operation(
        "refreshSession",
        access=PUBLIC,
        body=SessionRefresh(),
        answer=(200, TokensAnswer()),
        problems=(InvalidRefreshToken, RefreshTokenReused, SessionEnded),
    )
    def post(self, refresh_token: str) -> dict[str, Any]:
        """Exchange a refresh token for new tokens.

        The token before the current one gives the current tokens again: for a short while, so that
        parallel requests do no harm, and as long as those were never used, for the answer with them may
        be lost. After that it ends the session, and so does any older one.
        """
        return service.refresh(refresh_token)


class CurrentSession(Resource):
    @operation("endCurrentSession", access=SIGNED_IN, answer=(204, None))
    def delete(self) -> None:
        """Sign out.

        The session's tokens are refused from the next request on.
        """
        service.sign_out_here(caller())


class UserSessions(Resource):
    @operation(
        "listSessions",
        access=OwnerOr("sessions:read"),
        path=UserPath(),
        query=SessionList(),
        answer=(200, SessionListAnswer()),
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
    )
    def delete(self, user_id: UUID, keep: str | None) -> None:
        """Sign a user out everywhere, or everywhere else."""
        service.sign_out_everywhere(user_id, caller().session_id if keep else None)


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
        service.sign_out(user_id, session_id)


class KeySet(Resource):
    @operation("getKeySet", access=PUBLIC, answer=(200, KeySetAnswer()), database=False, max_age=300)
    def get(self) -> dict[str, Any]:
        """Get the public keys that verify access tokens."""
        return {"keys": tokens.signing_keys().key_set()}
