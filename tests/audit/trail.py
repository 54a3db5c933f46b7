"""Looks at the audit trail as the database holds it, and hands that do to it what nobody may."""

from typing import Any

import sqlalchemy as sa
from flask import Flask

from api.audit import chain
from api.audit.models import AuditEvent
from api.kit import work
from api.kit.db import db
from tests.support.databases import unguarded


def entries(app: Flask, *actions: str) -> list[AuditEvent]:
    """Return the entries, the oldest first; of these actions only, if any are named."""
    query = sa.select(AuditEvent).order_by(AuditEvent.id)
    if actions:
        query = query.where(AuditEvent.action.in_(actions))
    with app.app_context(), work.reading():
        return list(db.session.scalars(query))


def only(app: Flask, action: str) -> AuditEvent:
    """Return the one entry of an action."""
    [found] = entries(app, action)
    return found


def actions_since(app: Flask, before: list[AuditEvent]) -> list[str]:
    """Return what was written since there were these entries."""
    return [entry.action for entry in entries(app)[len(before) :]]


def seal(app: Flask) -> None:
    """Seal all that waits, as the chore does."""
    is_more = True
    while is_more:
        with app.app_context(), work.writing():
            is_more = chain.seal_batch()


def verify(app: Flask, kept: chain.Head | None = None) -> tuple[chain.Head, int]:
    with app.app_context():
        return chain.verify(kept, lambda _: None)


def tamper(app: Flask, *statements: sa.Executable) -> None:
    """Do what the triggers refuse."""
    with app.app_context(), unguarded(db.engine) as connection:
        for statement in statements:
            connection.execute(statement)


def row(entry: AuditEvent) -> dict[str, Any]:
    """Return an entry's columns."""
    return {column.key: getattr(entry, column.key) for column in sa.inspect(AuditEvent).column_attrs}
