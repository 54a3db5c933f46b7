"""Users over HTTP."""

from typing import Any
from uuid import UUID

from flask_restful import Resource
from marshmallow import Schema

from api.kit.conditional import Precondition
from api.kit.config import FRESH_SIGN_IN, PUBLIC_URL
from api.kit.identity import PUBLIC, Access, Needs, OwnerOr, caller, require_fresh
from api.kit.operation import Answer, host, operation
from api.kit.problems import Overloaded, PermissionDenied, Problem, ReauthenticationRequired
from api.kit.service import setting
from api.kit.settings import Settings
from api.users import service
from api.users.identifiers import judge
from api.users.models import User
from api.users.service import EmailTaken, UsernameTaken
from schemas.base import Request
from schemas.users import UserAnswer, UserCreate, UserList, UserPageAnswer, UserPatch, UserPath


def _sign_up_access(settings: Settings) -> Access:
    return Needs("users:write") if settings[service.SIGN_UP] == "closed" else PUBLIC


def _is_private(settings: Settings) -> bool:
    return settings[service.SIGN_UP] == "private"


def _sign_up_answer(settings: Settings) -> tuple[int, Schema | None]:
    return (202, None) if _is_private(settings) else (201, UserAnswer())


def _sign_up_problems(settings: Settings) -> tuple[type[Problem], ...]:
    return (Overloaded,) if _is_private(settings) else (UsernameTaken, EmailTaken, Overloaded)


def _user_create(settings: Settings) -> Request:
    """Return what signing up takes where the settings leave identifiers to choice."""
    optional = {"username", "email"} - set(settings[service.IDENTIFIERS])
    return judge(UserCreate(partial=tuple(sorted(optional))) if optional else UserCreate())


class Users(Resource):
    @operation(
        "createUser",
        access=_sign_up_access,
        body=_user_create,
        answer=_sign_up_answer,
        headers={"Location": "The URL of the user."},
        problems=_sign_up_problems,
        limit=service.SIGN_UP_LIMIT,
    )
    def post(self, **details: Any) -> Answer:
        """Sign a person up.

        The account is active at once. Username and e-mail address are compared without regard to
        case, after Unicode normalisation. Where sign-up is private the answer is 202 whether or not there
        is an account already: a letter tells.
        """
        if _is_private(host().settings):
            service.request_sign_up(**details)
            return Answer(None)
        user = service.sign_up(**details)
        return Answer(user, {"Location": f"{setting(PUBLIC_URL)}/v1/users/{user.id}"})

    @operation(
        "listUsers",
        access=Needs("users:read"),
        query=UserList(),
        answer=(200, UserPageAnswer()),
        headers={"Link": "The next page (RFC 8288), when there is one."},
    )
    def get(self, **query: Any) -> Answer:
        """List users, a page at a time.

        A page deep in the list costs what the first one does. Follow `next_cursor` with the same
        `sort` until it is null.
        """
        page = service.list_page(**query)
        return Answer(page, page.link())


class OneUser(Resource):
    @operation(
        "getUser",
        access=OwnerOr("users:read"),
        path=UserPath(),
        answer=(200, UserAnswer()),
        etag=service.etag,
    )
    def get(self, user_id: UUID) -> Any:
        """Get a user."""
        return caller().record if user_id == caller().user_id else service.get(user_id)

    @operation(
        "updateUser",
        access=OwnerOr("users:write"),
        path=UserPath(),
        body=judge(UserPatch()),
        merge_patch=True,
        answer=(200, UserAnswer()),
        etag=service.etag,
        problems=(UsernameTaken, EmailTaken, PermissionDenied, ReauthenticationRequired),
    )
    def patch(self, user_id: UUID, precondition: Precondition, **changes: Any) -> User:
        """Change a user by a merge patch.

        `app_metadata` needs the permission `users:write`, and `email` a fresh sign-in. A user's own new
        address is pending until it is confirmed; the old one is told. One that an administrator writes
        is not verified.
        """
        if "email" in changes:
            require_fresh(caller(), setting(FRESH_SIGN_IN))
        if "app_metadata" in changes:
            caller().require("users:write")
        return service.change(user_id, changes, precondition, by_owner=user_id == caller().user_id)

    @operation(
        "deleteUser",
        access=OwnerOr("users:write"),
        path=UserPath(),
        answer=(204, None),
        etag=service.etag,
        fresh=True,
    )
    def delete(self, user_id: UUID, precondition: Precondition) -> None:
        """Delete a user.

        Every session of theirs ends at once; username and e-mail address stay taken. Needs a fresh
        sign-in.
        """
        service.delete(user_id, precondition)
