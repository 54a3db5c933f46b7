"""E-mail addresses and their confirmation over HTTP."""

from flask_restful import Resource

from api.emails import service
from api.kit.identity import PUBLIC, SIGNED_IN, caller
from api.kit.operation import operation
from api.users.models import User
from api.users.service import PASSWORD_LIMIT, EmailTaken
from schemas.emails import EmailConfirm
from schemas.users import UserAnswer


class EmailVerifications(Resource):
    @operation("createEmailVerification", access=SIGNED_IN, limit=PASSWORD_LIMIT, answer=(202, None))
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
        problems=(EmailTaken,),
    )
    def post(self, token: str) -> User:
        """Confirm an e-mail address by the token of a letter.

        A token is good once. A pending address becomes the user's own.
        """
        return service.confirm(token)
