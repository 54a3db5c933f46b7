"""What a dry run would have taken: digests of identifiers, so that rows far apart are seen to clash."""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api.bulk.models import ImportClaim
from api.kit.db import db

KEYS = ("id", "username_key", "username_skeleton", "email_key")  # what is one user's alone


def claimed(import_id: UUID, rows: Iterable[Mapping[str, Any]]) -> set[bytes]:
    """Return those digests of the rows' identifiers that are claimed."""
    wanted = list({digest for row in rows for digest in digests(row)})
    found: set[bytes] = set()
    for first in range(0, len(wanted), 1000):
        part = ImportClaim.digest.in_(wanted[first : first + 1000])
        found.update(
            db.session.scalars(sa.select(ImportClaim.digest).where(ImportClaim.import_id == import_id, part))
        )
    return found


def claim(import_id: UUID, users: Iterable[Mapping[str, Any]]) -> None:
    """Claim the identifiers of users."""
    wanted = {digest for user in users for digest in digests(user)}
    rows = [{"import_id": import_id, "digest": digest} for digest in wanted]
    if rows:
        db.session.execute(sa.insert(ImportClaim), rows)


def digests(columns: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield a digest for each identifier."""
    for column in KEYS:
        if (value := columns.get(column)) is not None:
            yield blake2b(f"{column}:{value}".encode(), digest_size=16).digest()
