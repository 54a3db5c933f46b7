"""New identifiers."""

from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Return a UUIDv7: unique, and ordered by the time of its making (RFC 9562 section 5.7)."""
    return uuid7()


def first_id(instant: datetime) -> UUID:
    """Return the least of the identifiers that are made from an instant on."""
    return UUID(int=(int(instant.timestamp() * 1000) << 80) | 7 << 76 | 2 << 62)
