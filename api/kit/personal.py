"""Everything held about one user, put together from what each feature holds."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from api.kit.service import service
from schemas.base import instant_text


def collect(user_id: UUID) -> dict[str, Any]:
    """Return what is held about a user as JSON, by the names of the features that hold it."""
    holders = {f.name: f.personal_data for f in service().features if f.personal_data is not None}
    return {name: _plain(held(user_id)) for name, held in holders.items()}


def _plain(value: Any) -> Any:
    """Return a value with its instants and ids written as everywhere in the contract."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        return instant_text(value)
    return str(value) if isinstance(value, UUID) else value
