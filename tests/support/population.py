"""People who never sign in, put straight into the table."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask

from api.kit import clock, work
from api.kit.db import db
from api.kit.ids import new_id
from api.users.models import ACTIVE, User


def add_users(
    app: Flask, count: int, *, days_ago: int = 0, rows: Sequence[dict[str, Any]] | None = None
) -> list[str]:
    """Add people, three at each instant, with the columns of `rows` if given, and return their ids."""
    begin = clock.now() - timedelta(days=days_ago)
    given = rows or [{}] * count
    new = [_row(begin + timedelta(seconds=number // 3)) | given[number] for number in range(count)]
    with app.app_context(), work.writing():
        db.session.execute(sa.insert(User), new)
    return [str(row["id"]) for row in new]


def _row(created_at: datetime) -> dict[str, Any]:
    return {
        "id": new_id(),
        "email_verified": False,
        "password_hash": "none",
        "status": ACTIVE,
        "roles": [],
        "user_metadata": {},
        "app_metadata": {},
        "created_at": created_at,
        "updated_at": created_at,
        "password_changed_at": created_at,
        "version": 1,
    }
