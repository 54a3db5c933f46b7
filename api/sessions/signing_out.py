"""Ending sessions of a user: by signing out, by whoever gave another password, by what befell the user."""

from uuid import UUID

import sqlalchemy as sa

from api.kit.db import db
from api.kit.identity import Identity
from api.kit.problems import NotFound
from api.sessions import refreshing
from api.sessions.endings import LIVE, end, end_user, end_users
from api.sessions.models import Session
from api.users import service as users
from api.users.service import UserDeleted, UsersImported
from api.users.standing import UserSuspended


def sign_out(user_id: UUID, session_id: UUID | None) -> None:
    """End one session of a user; raises NotFound when it is none, or has ended."""
    if not end(user_id, Session.id == session_id, *LIVE, reason="signed_out"):
        raise NotFound()


def sign_out_here(caller: Identity) -> None:
    """End the caller's own session; that it ended meanwhile is as good."""
    end(caller.user_id, Session.id == caller.session_id, reason="signed_out")


def sign_out_by_token(refresh_token: str) -> None:
    """End the session of a refresh token, old or new; that it has ended is as good.

    Raises InvalidRefreshToken.
    """
    session_id, _generation = refreshing.read(refresh_token)
    user_id = db.session.scalar(sa.select(Session.user_id).where(Session.id == session_id))
    if user_id is not None:
        end(user_id, Session.id == session_id, reason="signed_out")


def sign_out_everywhere(user_id: UUID, keep: UUID | None) -> None:
    """End all sessions of a user, except one when `keep` names it; raises NotFound for no user."""
    users.get(user_id)
    end_all(user_id, keep, reason="signed_out")


def end_all(user_id: UUID, keep: UUID | None, reason: str) -> None:
    """End all sessions of a user, except one when `keep` names it."""
    others = [] if keep is None else [Session.id != keep]
    end(user_id, *others, reason=reason)


def end_with_user(event: UserDeleted) -> None:
    """End all sessions of a user who was deleted, and tell that the user ended as well."""
    end_user(event.user_id, reason="user_deleted")


def end_with_suspension(event: UserSuspended) -> None:
    """End all sessions of a user who was suspended."""
    end_all(event.user_id, keep=None, reason="user_suspended")


def end_with_import(event: UsersImported) -> None:
    """End all sessions of users to whom a file gave another password or status."""
    if signed_out := event.whose("password_hash", "status"):
        end_users(signed_out, reason="user_imported")
