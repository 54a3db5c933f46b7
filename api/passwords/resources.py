"""Passwords over HTTP."""

from uuid import UUID

from flask_restful import Resource

from api.kit.addresses import client_address
from api.kit.identity import PUBLIC, OwnerOr, caller
from api.kit.operation import operation
from api.kit.problems import Overloaded, PermissionDenied, TooManyAttempts
from api.passwords import service
from api.users.credentials import PASSWORD_LIMIT, WrongPassword
from api.users.identifiers import judge
from schemas.passwords import PasswordChange, PasswordResetConfirm, PasswordResetCreate
from schemas.users import UserPath


class UserPassword(Resource):
    @operation(
        "changePassword",
        access=OwnerOr("users:write"),
        path=UserPath(),
        body=judge(PasswordChange()),
        answer=(204, None),
        problems=(WrongPassword, PermissionDenied, TooManyAttempts, Overloaded),
        limit=PASSWORD_LIMIT,
        fresh=True,
    )
    def put(self, user_id: UUID, current_password: str | None, new_password: str) -> None:
        """Change a password.

        The user's other sessions end at once. An administrator who changes another user's password sends
        null as `current_password`, and must have every permission that the user has. Needs a fresh sign-in.
        """
        service.change(caller(), user_id, current_password, new_password, client_address())


class PasswordResets(Resource):
    @operation(
        "createPasswordReset",
        access=PUBLIC,
        repeatable=True,
        limit=PASSWORD_LIMIT,
        body=judge(PasswordResetCreate()),
        answer=(202, None),
    )
    def post(self, email: str) -> None:
        """Ask for a letter to set a new password.

        The answer is the same, after the same work, whether or not somebody has the address.
        """
        service.request_reset(email)


class PasswordReset(Resource):
    @operation(
        "confirmPasswordReset",
        access=PUBLIC,
        limit=PASSWORD_LIMIT,
        body=judge(PasswordResetConfirm()),
        answer=(204, None),
        problems=(Overloaded,),
    )
    def post(self, token: str, new_password: str) -> None:
        """Set a new password by the token of a letter.

        A token is good once. Every session of the user ends at once.
        """
        service.reset(token, new_password)
