"""All users as a file, in the order of their ids: a page at a time, on no transaction that lasts."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from api.kit import work
from api.users.models import NO_PASSWORD, User
from schemas.bulk import END

PAGE_ROWS = 1000
SECRET = ("roles", "password_hash")
# What a user is, in the order of the file: members, with the attributes of User that hold them.
MEMBERS = {
    "id": "id",
    "username": "username",
    "email": "email",
    "email_verified": "email_verified",
    "pending_email": "pending_email",
    "display_name": "display_name",
    "locale": "locale",
    "status": "status",
    "roles": "roles",
    "metadata": "user_metadata",
    "app_metadata": "app_metadata",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "last_seen_at": "last_seen_at",
    "deleted_at": "deleted_at",
    "suspended_at": "suspended_at",
    "suspended_until": "suspended_until",
    "suspension_reason": "suspension_reason",
    "password_changed_at": "password_changed_at",
    "password_hash": "password_hash",
}
_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # OWASP, CSV Injection; less what no cell of ours begins with


def export(file_format: str, *, secrets: bool) -> Iterator[bytes]:
    """Yield a file of all users: see `parts`."""
    return (part for _, part in parts(file_format, secrets=secrets))


def parts(file_format: str, *, secrets: bool) -> Iterator[tuple[int, bytes]]:
    """Yield all users, each once who is there all along, and a last line that says how many there were.

    Each part comes with how many users are in it. A file without the last line is not whole. With
    `secrets` roles and password hashes are in it.
    """
    members = [name for name in MEMBERS if secrets or name not in SECRET]
    write = _csv_lines if file_format == "csv" else _json_lines
    if file_format == "csv":
        yield 0, _csv_text([members])
    count = 0
    for page in _pages(members):
        count += len(page)
        yield len(page), write(members, page)
    yield 0, _csv_text([[END, count]]) if file_format == "csv" else orjson.dumps({END: count}) + b"\n"


def _pages(members: Sequence[str]) -> Iterator[Sequence[sa.Row[Any]]]:
    columns = [getattr(User, MEMBERS[name]) for name in members]
    first = sa.select(*columns).order_by(User.id).limit(PAGE_ROWS)
    following = first.where(User.id > sa.bindparam("after", type_=sa.Uuid()))
    page = work.read_all(first)
    while page:
        yield page
        page = work.read_all(following, {"after": page[-1].id})


def _json_lines(members: Sequence[str], page: Sequence[sa.Row[Any]]) -> bytes:
    return b"".join(
        orjson.dumps({name: _value(name, value) for name, value in zip(members, user, strict=True)}) + b"\n"
        for user in page
    )


def _csv_lines(members: Sequence[str], page: Sequence[sa.Row[Any]]) -> bytes:
    return _csv_text(
        [_cell(_value(name, value)) for name, value in zip(members, user, strict=True)] for user in page
    )


def _csv_text(rows: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _value(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    if name == "password_hash" and value == NO_PASSWORD:
        return None
    return value


def _cell(value: Any) -> Any:
    """Return a cell: objects and lists as JSON, and nothing that a spreadsheet would take for a formula.

    An apostrophe before such a text keeps it one; another before a text that begins as if it had one.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    text = str(value)
    return f"'{text}" if _FORMULA.match(text) else text
