"""Users over HTTP."""

from datetime import datetime
from typing import Any
from uuid import UUID

from flask_restful import Resource
from marshmallow import Schema

from api.kit import clock, personal
from api.kit.conditional import Precondition
from api.kit.config import FRESH_SIGN_IN, PUBLIC_URL
from api.kit.identity import PUBLIC, Access, Needs, OwnerOr, caller, require_fresh
from api.kit.operation import Answer, host, operation
from api.kit.problems import NotFound, Overloaded, PermissionDenied, Problem, ReauthenticationRequired
from api.kit.service import setting
from api.kit.settings import Settings
from api.users import listing, service, signing_up, standing
from api.users.identifiers import judge, refuse_reserved
from api.users.models import User
from api.users.roles import LastAdministrator
from api.users.service import EmailTaken, UsernameTaken
from api.users.standing import NotDeleted, OwnAccount
from schemas.base import Request
from schemas.users import (
    SuspensionAnswer,
    SuspensionCreate,
    UserAnswer,
    UserCreate,
    UserExportAnswer,
    UserList,
    UserPageAnswer,
    UserPatch,
    UserPath,
)


def _sign_up_access(settings: Settings) -> Access:
    return Needs("users:write") if settings[signing_up.SIGN_UP] == "closed" else PUBLIC


def _is_private(settings: Settings) -> bool:
    return settings[signing_up.SIGN_UP] == "private"


def _sign_up_answer(settings: Settings) -> tuple[int, Schema | None]:
    return (202, None) if _is_private(settings) else (201, UserAnswer())


def _sign_up_problems(settings: Settings) -> tuple[type[Problem], ...]:
    return (Overloaded,) if _is_private(settings) else (UsernameTaken, EmailTaken, Overloaded)


def _user_create(settings: Settings) -> Request:
    """Return what signing up takes where the settings leave identifiers to choice."""
    optional = {"username", "email"} - set(settings[signing_up.IDENTIFIERS])
    schema = UserCreate(partial=tuple(sorted(optional))) if optional else UserCreate()
    if settings[signing_up.SIGN_UP] == "closed":  # only administrators get here
        return judge(schema)
    return judge(schema, username=refuse_reserved)


def _refuse_reserved_rename(username: str) -> None:
    """Refuse a reserved username, but to administrators and to the caller who has it."""
    if not caller().may("users:write") and caller().record.username != username:
        refuse_reserved(username)


class Users(Resource):
    @operation(
        "createUser",
        access=_sign_up_access,
        repeatable=True,
        body=_user_create,
        answer=_sign_up_answer,
        etag=service.etag,
        headers={"Location": "The URL of the user."},
        names={"user_id": "id"},
        problems=_sign_up_problems,
        limit=signing_up.SIGN_UP_LIMIT,
    )
    def post(self, **details: Any) -> Answer:
        """Sign a person up.

        The account is active at once. Username and e-mail address are compared without regard to
        case, after Unicode normalisation, and usernames by their looks. Where sign-up is private the
        answer is 202 whether or not there is an account already: a letter tells.
        """
        if _is_private(host().settings):
            signing_up.request_sign_up(**details)
            return Answer(None)
        user = signing_up.sign_up(**details)
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

        All filters have to fit. A page deep in the list costs what the first one does: to find
        what fits several filters, a page looks at 10,000 users at most, so it may have fewer than `limit`
        and even none although more follow. Follow `next_cursor`, with the same other parameters, until it is
        null. A cursor is good for its caller alone.
        """
        page = listing.list_page(**query, caller=caller().user_id)
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
        """Get a user.

        `me` in place of an id is whoever calls.
        """
        return caller().record if user_id == caller().user_id else service.get(user_id)

    @operation(
        "updateUser",
        access=OwnerOr("users:write"),
        path=UserPath(),
        body=judge(UserPatch(), username=_refuse_reserved_rename),
        merge_patch=True,
        answer=(200, UserAnswer()),
        etag=service.etag,
        problems=(UsernameTaken, EmailTaken, PermissionDenied, ReauthenticationRequired),
    )
    def patch(self, user_id: UUID, precondition: Precondition, **changes: Any) -> User:
        """Change a user by a merge patch.

        `app_metadata` needs the permission `users:write`, and `email` a fresh sign-in. A user's own new
        address is pending until it is confirmed; the old one is told. One that an administrator writes
        is not verified. Nobody changes a user who has a permission that they lack themselves.
        """
        if "email" in changes:
            require_fresh(caller(), setting(FRESH_SIGN_IN))
        if "app_metadata" in changes:
            caller().require("users:write")
        is_own = user_id == caller().user_id
        return service.change(user_id, changes, precondition, by_owner=is_own, held=caller().permissions)

    @operation(
        "deleteUser",
        access=OwnerOr("users:write"),
        path=UserPath(),
        answer=(204, None),
        etag=service.etag,
        problems=(LastAdministrator, PermissionDenied),
        fresh=True,
    )
    def delete(self, user_id: UUID, precondition: Precondition) -> None:
        """Delete a user.

        Every session of theirs ends at once. Username and e-mail address stay taken until the account is
        erased for good, some weeks later; until then an administrator can restore it. Needs a fresh sign-in.
        """
        service.delete(user_id, precondition, held=caller().permissions)


class Restoration(Resource):
    @operation(
        "restoreUser",
        access=Needs("users:write"),
        path=UserPath(),
        answer=(200, UserAnswer()),
        etag=service.etag,
        problems=(NotFound, NotDeleted, PermissionDenied),
    )
    def post(self, user_id: UUID, precondition: Precondition) -> User:
        """Restore a user who was deleted, and is not yet erased.

        They sign in again by their password. Whoever restores them must have every permission that they
        get back.
        """
        return standing.restore(user_id, precondition, held=caller().permissions)


class Suspension(Resource):
    @operation(
        "getSuspension",
        access=Needs("users:read"),
        path=UserPath(),
        answer=(200, SuspensionAnswer()),
        etag=service.etag,
        problems=(NotFound,),
    )
    def get(self, user_id: UUID) -> User:
        """Get why and for how long a user is suspended.

        It is 404 for a user who is not suspended.
        """
        return standing.suspended(user_id)

    @operation(
        "suspendUser",
        access=Needs("users:write"),
        path=UserPath(),
        body=SuspensionCreate(),
        answer=(200, SuspensionAnswer()),
        etag=service.etag,
        problems=(NotFound, OwnAccount, LastAdministrator, PermissionDenied),
    )
    def post(self, user_id: UUID, reason: str, until: datetime | None, precondition: Precondition) -> User:
        """Suspend a user.

        Every session of theirs ends at once, and signing in is refused as with a wrong password, until the
        suspension is lifted, or ends by itself at `until`. A user who is suspended already gets the new
        reason and end.
        """
        by = caller()
        return standing.suspend(user_id, reason, until, precondition, held=by.permissions, by=by.user_id)

    @operation(
        "liftSuspension",
        access=Needs("users:write"),
        path=UserPath(),
        answer=(204, None),
        etag=service.etag,
        problems=(NotFound, PermissionDenied),
    )
    def delete(self, user_id: UUID, precondition: Precondition) -> None:
        """Lift a suspension.

        The user may sign in again; sessions that have ended stay so.
        """
        standing.lift(user_id, precondition, held=caller().permissions)


class Export(Resource):
    @operation(
        "exportUser",
        access=OwnerOr("users:read"),
        path=UserPath(),
        answer=(200, UserExportAnswer()),
    )
    def get(self, user_id: UUID) -> dict[str, Any]:
        """Get everything that is held about a user, but for secrets.

        Each feature tells what it holds.
        """
        service.get(user_id)
        return {"exported_at": clock.now(), "data": personal.collect(user_id)}
