"""What is written into the audit trail, and what is shown of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api.audit.chain import mac_of
from api.audit.models import AuditEvent
from api.kit import clock
from api.kit.actor import NOBODY, USER, current_actor
from api.kit.events import Event
from api.kit.ids import new_id
from api.kit.pages import Order, Page, page
from api.kit.problems import FieldError, ValidationFailed
from api.kit.queries import Query
from api.kit.service import service
from api.users import service as users
from schemas.audit import AuditEventAnswer
from schemas.messages import Message

EXPORTED = 10_000  # entries, the newest, in all that is held about a user
ADMINISTRATOR = "administrator"  # what a user sees of another who did something to them
_INSERT = Query(sa.insert(AuditEvent))
_ORDER = Order((AuditEvent.at, AuditEvent.id), descending=True)
_UNKNOWN_ACTION = FieldError(Message("not_one_of", "Is no action of this service."), parameter="action")
_MEMBERS = tuple(AuditEventAnswer().fields)
_HIDDEN = {"actor_kind": ADMINISTRATOR, "actor_id": None, "session_id": None, "ip": None, "request_id": None}


def record(event: Event) -> None:
    """Write an event down in the transaction in which it happened, if it is one to be audited."""
    if not event.actions:
        return
    actor = current_actor()
    proved = event.by_subject and actor.kind == NOBODY
    entry = {
        "id": new_id(),
        "at": clock.now(),
        "action": event.action,
        "actor_kind": USER if proved else actor.kind,
        "actor_id": event.subject_id if proved else actor.user_id,
        "session_id": actor.session_id or getattr(event, "session_id", None),
        "ip": actor.ip,
        "request_id": actor.request_id,
        "subject_id": event.subject_id,
        "details": event.details(),
    }
    _INSERT.all_in_unit(entry | {"mac": mac_of(entry)})


def actions() -> list[str]:
    """Return every action that the features which are on may write down."""
    return sorted({action for f in service().features for kind in f.events for action in kind.actions})


def list_page(
    *, after: datetime | None, before: datetime | None, limit: int, cursor: str | None, **equal: Any
) -> Page:
    """Return a page of entries, the newest first; `equal` holds values of columns, None for any.

    Raises ValidationFailed for an action that there is not, or a cursor that is not this list's.
    """
    if equal.get("action") not in (None, *actions()):
        raise ValidationFailed([_UNKNOWN_ACTION])
    bounds = {"after": after, "before": before}
    filters = {name: str(value) for name, value in (equal | bounds).items() if value is not None}
    query = sa.select(AuditEvent)
    for name, value in equal.items():
        if value is not None:
            query = query.where(getattr(AuditEvent, name) == value)
    if after is not None:
        query = query.where(AuditEvent.at >= after)
    if before is not None:
        query = query.where(AuditEvent.at < before)
    return page(query, _ORDER, limit=limit, cursor=cursor, filters=filters)


def list_page_about(user_id: UUID, *, in_full: bool, limit: int, cursor: str | None) -> Page:
    """Return a page of what happened to a user, the newest first; raises NotFound for no user.

    Unless it is to be shown `in_full`, nothing tells who else did something, or from where.
    """
    users.get(user_id)
    found = list_page(after=None, before=None, limit=limit, cursor=cursor, subject_id=user_id)
    if in_full:
        return found
    return Page([_seen_by_subject(entry) for entry in found.items], found.next_cursor)


def personal_data(user_id: UUID) -> list[dict[str, Any]]:
    """Return what happened to a user, as they see it: the newest entries, and the list has all."""
    seen = list_page_about(user_id, in_full=False, limit=EXPORTED, cursor=None).items
    return [{name: entry[name] for name in _MEMBERS} for entry in seen]


def _shown(entry: AuditEvent) -> Mapping[str, Any]:
    return {column.key: getattr(entry, column.key) for column in sa.inspect(AuditEvent).column_attrs}


def _seen_by_subject(entry: AuditEvent) -> Mapping[str, Any]:
    is_anothers = entry.actor_kind == USER and entry.actor_id != entry.subject_id
    return {**_shown(entry), **_HIDDEN} if is_anothers else _shown(entry)
