"""The audit trail over HTTP: it is read, and nothing writes it."""

from typing import Any
from uuid import UUID

from flask_restful import Resource

from api.audit import service
from api.kit.identity import Needs, OwnerOr, caller
from api.kit.operation import Answer, operation
from schemas.audit import AuditEventList, AuditEventPageAnswer, UserAuditEventList
from schemas.users import UserPath

READ = "audit:read"
_LINK = {"Link": "The next page (RFC 8288), when there is one."}


class AuditEvents(Resource):
    @operation(
        "listAuditEvents",
        access=Needs(READ),
        query=AuditEventList(),
        answer=(200, AuditEventPageAnswer()),
        headers=_LINK,
    )
    def get(self, **query: Any) -> Answer:
        """List who did what to whom, from where and when, the newest first.

        All filters have to fit.
        """
        page = service.list_page(**query)
        return Answer(page, page.link())


class UserAuditEvents(Resource):
    @operation(
        "listUserAuditEvents",
        access=OwnerOr(READ),
        path=UserPath(),
        query=UserAuditEventList(),
        answer=(200, AuditEventPageAnswer()),
        headers=_LINK,
    )
    def get(self, user_id: UUID, **query: Any) -> Answer:
        """List what happened to a user, the newest first.

        The user sees what others did as done by an `administrator`, and not by whom or from where.
        """
        page = service.list_page_about(user_id, in_full=caller().may(READ), **query)
        return Answer(page, page.link())
