"""Passwords over HTTP."""

from uuid import UUID

from flask_restful import Resource

from api.kit.addresses import client_address
from api.kit.identity import OwnerOr, caller
from api.kit.operation import operation
from api.kit.problems import Overloaded, TooManyAttempts
from api.passwords import service
from api.users.identifiers import judge
from api.users.service import PASSWORD_LIMIT, WrongPassword
from schemas.passwords import PasswordChange
from schemas.users import UserPath


class UserPassword(Resource):
    @operation(
        "changePassword",
        access=OwnerOr("users:write"),
        path=UserPath(),
        body=judge(PasswordChange()),
        answer=(204, None),
        problems=(WrongPassword, TooManyAttempts, Overloaded),
        limit=PASSWORD_LIMIT,
        fresh=True,
    )
    def put(self, user_id: UUID, current_password: str | None, new_password: str) -> None:
        """Change a password.

        The user's other sessions end at once. `current_password` may be null when an administrator
        changes another user's. Needs a fresh sign-in.
        """
        service.change(caller(), user_id, current_password, new_password, client_address())
