"""New identifiers."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Return a UUIDv7: unique, and ordered by the time of its making (RFC 9562 section 5.7)."""
    return uuid7()
