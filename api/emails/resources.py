"""E-mail addresses and their confirmation over HTTP."""

from flask_restful import Resource

from api.emails import service
from api.kit.addresses import client_address
from api.kit.identity import PUBLIC, SIGNED_IN, caller
from api.kit.operation import operation
from api.kit.problems import Overloaded, TooManyAttempts
from api.users.credentials import PASSWORD_LIMIT, WrongPassword
from api.users.identifiers import judge
from api.users.models import User
from api.users.service import EmailTaken, etag
from schemas.emails import EmailConfirm, EmailRevert
from schemas.users import UserAnswer


class EmailVerifications(Resource):
    @operation(
        "createEmailVerification", access=SIGNED_IN, repeatable=True, limit=PASSWORD_LIMIT, answer=(202, None)
    )
    def post(self) -> None:
        """Send the letter to confirm one's address again.

        It goes to the address that is pending, or else to one's own, unless that is confirmed already. The
        token of any letter before it is good no more.
        """
        service.request_verification(caller().user_id)


class EmailConfirmation(Resource):
    @operation(
        "confirmEmail",
        access=PUBLIC,
        limit=PASSWORD_LIMIT,
        body=EmailConfirm(),
        answer=(200, UserAnswer()),
        etag=etag,
        problems=(EmailTaken, WrongPassword, TooManyAttempts, Overloaded),
    )
    def post(self, token: str, password: str | None = None) -> User:
        """Confirm an e-mail address by the token of a letter.

        A token is good once. A pending address becomes the user's own. A `password` that is given must be
        the account's; the service may insist on one.
        """
        return service.confirm(token, password, client_address())


class EmailReversion(Resource):
    @operation(
        "revertEmailChange",
        access=PUBLIC,
        limit=PASSWORD_LIMIT,
        body=judge(EmailRevert()),
        answer=(204, None),
        problems=(EmailTaken, Overloaded),
    )
    def post(self, token: str, new_password: str) -> None:
        """Take a change of e-mail address back by the token of the letter that told of it.

        The address that the letter went to is the user's own again, with a new password, and every session
        ends at once. A token is good once, before and after the new address was confirmed.
        """
        service.revert(token, new_password)
