"""How people come to have an account, whoever makes it."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from api.kit import clock
from api.kit.db import db, refusing_duplicates
from api.kit.hashing import hasher
from api.kit.ids import new_id
from api.kit.outbox import owe
from api.kit.queries import Query
from api.kit.service import emit
from api.kit.settings import Limit, Setting, limit, one_of, some_of
from api.users import identifiers, roles
from api.users.models import ACTIVE, User
from api.users.service import TAKEN, UNIQUE, EmailTaken, SignUpRefused, UserCreated, UsernameTaken

SIGN_UP_TASK = "sign_up"  # in the outbox
SIGN_UP = Setting(
    "SIGN_UP",
    "Who may sign up: with `closed` only whoever has the permission `users:write`; with `private` everybody, "
    "and only a letter tells whether there was an account already.",
    "open",
    one_of("open", "closed", "private"),
)
IDENTIFIERS: Setting[tuple[str, ...]] = Setting(
    "IDENTIFIERS",
    "What signing up must give: `username`, `email` or both.",
    ("username", "email"),
    some_of("username", "email"),
    default_text="`username,email`",
)

_WHO_HAS_IT = Query(
    sa.select(*(getattr(User, column) for column in UNIQUE)).where(
        sa.or_(*(getattr(User, column) == sa.bindparam(column) for column in UNIQUE))
    )
)
SIGN_UP_LIMIT = Setting("SIGN_UP_LIMIT", "Sign-ups of one client address (IPv6: /64).", Limit(30, 60), limit)


def sign_up(
    *, password: str, as_admin: bool = False, user_metadata: dict[str, Any] | None = None, **profile: Any
) -> User:
    """Create an active user; `profile` holds username, email, display_name and locale.

    Raises ValidationFailed, UsernameTaken, EmailTaken, or Overloaded when too many sign up or in.
    """
    stored = _stored(password, profile)
    _refuse_taken(stored)
    stored["password_hash"] = hasher().hash(stored.pop("password"))
    given = [roles.ADMIN] if as_admin else []
    return _create(stored, profile | {"user_metadata": user_metadata or {}}, given)


def request_sign_up(*, password: str, user_metadata: dict[str, Any] | None = None, **profile: Any) -> None:
    """Owe somebody an account: the same work whether or not there is one already.

    Raises ValidationFailed, or Overloaded when too many sign up or in.
    """
    stored = _stored(password, profile)
    stored["password_hash"] = hasher().hash(stored.pop("password"))
    owe(SIGN_UP_TASK, {"stored": stored, "profile": profile | {"user_metadata": user_metadata or {}}})


def finish_sign_up(content: dict[str, Any]) -> None:
    """Create the account that is owed, or tell its address why not."""
    stored, profile = content["stored"], content["profile"]
    try:
        _refuse_taken(stored)
    except (EmailTaken, UsernameTaken) as refusal:
        taken = "email" if isinstance(refusal, EmailTaken) else "username"
        emit(SignUpRefused(stored["email"], profile.get("locale"), taken))
    else:
        _create(stored, profile, given=[])


def _stored(password: str, profile: dict[str, Any]) -> dict[str, str]:
    """Take the identifiers out of a profile, and return what is stored of them and of the password."""
    given = {name: profile.pop(name) for name in ("username", "email") if name in profile}
    return identifiers.columns(**given, password=password)


def _create(stored: Mapping[str, str], profile: Mapping[str, Any], given: list[str]) -> User:
    now = clock.now()
    user = User(
        id=new_id(),
        password_changed_at=now,
        **stored,
        **profile,
        email_verified=False,
        status=ACTIVE,
        roles=given,
        app_metadata={},
        created_at=now,
        updated_at=now,
    )
    with refusing_duplicates(TAKEN):
        db.session.add(user)
    roles.note_members(user.id, given)
    emit(UserCreated(user.id))
    return user


def _refuse_taken(stored: Mapping[str, str]) -> None:
    """Refuse what is plainly taken before hashing for it; the index judges those who come at once."""
    wanted = {column: stored.get(column) for column in UNIQUE}
    found = _WHO_HAS_IT.all(wanted)
    for column, problem in UNIQUE.items():
        if wanted[column] in [getattr(user, column) for user in found] and column in stored:
            raise problem()
