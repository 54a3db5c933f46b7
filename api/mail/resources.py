"""Letters over HTTP, in development alone."""

from typing import Any

from flask_restful import Resource

from api.kit.identity import PUBLIC
from api.kit.operation import operation
from api.mail import service
from schemas.mail import DevelopmentMailAnswer


class DevelopmentMail(Resource):
    @operation("listDevelopmentMail", access=PUBLIC, answer=(200, DevelopmentMailAnswer()), database=False)
    def get(self) -> dict[str, Any]:
        """List the letters of late, the newest first.

        Only in development: so that every flow can be tried without a mail server.
        """
        return {"items": service.kept_letters()}
