"""What can be done with sessions, whoever asks for it; but for what ends them (`signing_out.py`)."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api.kit import clock, work
from api.kit.config import PUBLIC_URL
from api.kit.db import UtcDateTime, db
from api.kit.events import Event
from api.kit.identity import Identity
from api.kit.ids import new_id
from api.kit.pages import Order, Page, page
from api.kit.problems import InvalidToken
from api.kit.queries import Query
from api.kit.service import emit, setting
from api.kit.settings import Setting, integer, one_of
from api.sessions import refreshing, tokens
from api.sessions.endings import DAY, IDLE_SECONDS, LIVE, end, live_at
from api.sessions.keys import Key, keyring
from api.sessions.models import Session
from api.sessions.refreshing import RefreshTokenReuse as RefreshTokenReuse  # for leaves that listen
from api.sessions.tokens import SignInAgain
from api.users import credentials, roles, signing_up
from api.users import service as users
from api.users.models import IS_ACTIVE, User

ABSOLUTE_SECONDS = Setting(
    "SESSION_ABSOLUTE_SECONDS", "A session ends so long after the sign-in, used or not.", 90 * DAY,
    integer(60, 3650 * DAY),
)  # fmt: skip
SESSIONS_PER_USER = Setting(
    "SESSIONS_PER_USER", "Sessions that a user has at most; one more ends the oldest.", 100, integer(1, 10000)
)
UNVERIFIED_SIGN_IN = Setting(
    "UNVERIFIED_SIGN_IN",
    "Whether users may sign in before their address is confirmed; who may not gets another letter. With "
    "private sign-up they may not.",
    "allowed",
    one_of("allowed", "refused"),
)
LAST_USE_SECONDS = 60  # between two notes of when a session was used last
_PERSONAL = (
    "id",
    "device_name",
    "user_agent",
    "ip",
    "amr",
    "created_at",
    "authenticated_at",
    "last_used_at",
    "expires_at",
    "ended_at",
    "ended_because",
)


# Statements are built once: building one costs more than SQLite takes to answer it.
_CALLER = Query(
    sa.select(
        Session.authenticated_at, Session.last_used_at, Session.generation, Session.confirmed, *users.ROW
    )
    .join_from(Session, User, User.id == Session.user_id)
    .where(Session.id == sa.bindparam("session_id"), User.id == sa.bindparam("user_id"))
    .where(IS_ACTIVE, *LIVE)
)
_NOTE_USE = (
    sa.update(Session)
    .where(
        Session.id.in_(
            sa.select(Session.id)
            .where(Session.id == sa.bindparam("session_id"))
            .with_for_update(skip_locked=True)
        )
    )
    .where(
        sa.or_(
            sa.and_(~Session.confirmed, Session.generation == sa.bindparam("used")),
            Session.last_used_at <= sa.bindparam("long_ago", type_=UtcDateTime()),
        )
    )
    .values(
        confirmed=sa.or_(Session.confirmed, Session.generation == sa.bindparam("used")),
        last_used_at=sa.bindparam("now", type_=UtcDateTime()),
    )
)
_INSERT = Query(sa.insert(Session).returning(*Session.__table__.columns))
_NEWEST_BEYOND = Query(
    sa.select(Session.created_at, Session.id)
    .where(Session.user_id == sa.bindparam("user_id"), *LIVE)
    .order_by(Session.created_at.desc(), Session.id.desc())
    .limit(1)
    .offset(sa.bindparam("most"))
)
_AUTHENTICATE_AGAIN = (
    sa.update(Session)
    .where(Session.id == sa.bindparam("session_id"), *LIVE)
    .values(
        authenticated_at=sa.bindparam("now", type_=UtcDateTime()),
        last_used_at=sa.bindparam("now", type_=UtcDateTime()),
    )
    .returning(Session)
    .execution_options(synchronize_session=False)
)


class InvalidCredentials(SignInAgain):
    code = "invalid_credentials"
    title = "The credentials are not valid"
    detail = "No account has this identifier and this password."
    remedy = "Check both, confirm the address if you have not done so, or reset the password."
    keeps_writes = True  # what was noted of it


@dataclass(frozen=True)
class SessionStarted(Event):
    """Somebody signed in."""

    actions = ("authn_login_success",)
    by_subject = True
    user_id: UUID
    session_id: UUID


@dataclass(frozen=True)
class UnverifiedSignIn(Event):
    """Somebody has the right password, and may not sign in before their address is confirmed."""

    actions = (credentials.LOGIN_FAILED,)
    user_id: UUID

    def details(self) -> dict[str, Any]:
        return {"reason": "address_not_confirmed"}


@dataclass(frozen=True)
class Reauthenticated(Event):
    """Somebody who is signed in proved again who they are."""

    actions = ("authn_reauthenticated",)
    user_id: UUID
    session_id: UUID


@dataclass(frozen=True)
class Device:
    """Where a request comes from."""

    ip: str | None
    user_agent: str | None


def sign_in(identifier: str, password: str, device_name: str | None, device: Device) -> dict[str, Any]:
    """Start a session and return it with its tokens.

    Raises InvalidCredentials, TooManyAttempts, or Overloaded when too many sign up or in.
    """
    key = keyring().signing()
    try:
        user = credentials.with_password(identifier, password, device.ip)
    except credentials.WrongPassword:
        raise InvalidCredentials() from None
    if not _may_sign_in(user):
        emit(UnverifiedSignIn(user.id))
        raise InvalidCredentials()
    return _with_tokens(key, _start(user.id, device_name, device), user)


def refresh(refresh_token: str) -> dict[str, Any]:
    """Exchange a refresh token and return its session with new tokens.

    Raises InvalidRefreshToken, SessionEnded, or RefreshTokenReused, which ends the session.
    """
    presented = refreshing.read(refresh_token)
    key = keyring().signing()
    session = refreshing.exchange(*presented)
    return _with_tokens(key, session, users.touch(session.user_id))


def reauthenticate(caller: Identity, password: str, address: str | None) -> dict[str, Any]:
    """Make the caller's sign-in fresh, and return the session with a new access token.

    Raises WrongPassword, TooManyAttempts, Overloaded, or InvalidToken when the session ended meanwhile.
    """
    key = keyring().signing()
    user = credentials.with_own_password(caller.user_id, password, address)
    session = db.session.scalar(_AUTHENTICATE_AGAIN, {"session_id": caller.session_id} | live_at(clock.now()))
    if session is None:
        raise InvalidToken()
    emit(Reauthenticated(user.id, session.id))
    return _with_tokens(key, session, user)


def authenticate(access_token: str) -> Identity:
    """Return whose token it is; raises InvalidToken unless its session and its user are live.

    One query, and for roles that somebody made one more: a session that was signed out is refused at the
    next request. The first use of what a refresh gave is noted as well, and once a minute the use of the
    session; by the next use when that cannot be done now.
    """
    user_id, session_id, generation, _kid = tokens.read_access_token(access_token)
    named = {"session_id": session_id, "user_id": user_id}
    now = clock.now()
    row = _CALLER.one_or_none(named | live_at(now))
    if row is None:
        raise InvalidToken()
    long_ago = now - timedelta(seconds=LAST_USE_SECONDS)
    is_first_use = not row.confirmed and row.generation == generation
    if is_first_use or row.last_used_at <= long_ago:
        use = {"session_id": session_id, "used": generation, "now": now, "long_ago": long_ago}
        work.note(_NOTE_USE, use)
    return Identity(user_id, session_id, roles.permissions_of(row.roles), row.authenticated_at, record=row)


def list_page(user_id: UUID, current: UUID | None, *, limit: int, cursor: str | None) -> Page:
    """Return a page of a user's live sessions, the newest first; raises NotFound for no user."""
    users.get(user_id)
    query = sa.select(Session).where(Session.user_id == user_id, *LIVE).params(live_at(clock.now()))
    order = Order((Session.created_at, Session.id), descending=True)
    filters = {"user_id": str(user_id)}
    found = page(query, order, limit=limit, cursor=cursor, filters=filters)
    return Page([_described(session, current) for session in found.items], found.next_cursor)


def personal_data(user_id: UUID) -> list[dict[str, Any]]:
    """Return all sessions of a user that are kept, those that have ended as well."""
    columns = [getattr(Session, name) for name in _PERSONAL]
    query = sa.select(*columns).where(Session.user_id == user_id).order_by(Session.created_at, Session.id)
    return [dict(row) for row in db.session.execute(query).mappings()]


def authorization_server() -> dict[str, Any]:
    """Return where to find what verifies access tokens."""
    url = setting(PUBLIC_URL)
    return {
        "issuer": url,
        "jwks_uri": f"{url}/.well-known/jwks.json",
        "revocations_uri": f"{url}/v1/revocations",
        "service_documentation": f"{url}/openapi.json",
        "response_types_supported": [],
        "grant_types_supported": [],
    }


def _may_sign_in(user: Any) -> bool:
    """Tell whether a user with the right password may: else signing in told what private sign-up hides."""
    may_unverified = setting(UNVERIFIED_SIGN_IN) == "allowed" and setting(signing_up.SIGN_UP) != "private"
    return may_unverified or user.email is None or user.email_verified


def _start(user_id: UUID, device_name: str | None, device: Device) -> Any:
    """Start a session of a user who is locked, and return its row; the oldest beyond the cap end."""
    now = clock.now()
    session = _INSERT.in_unit(
        {
            **dict.fromkeys(("rotated_at", "ended_at", "ended_because")),
            "id": new_id(),
            "user_id": user_id,
            "generation": 0,
            "confirmed": True,
            "device_name": device_name,
            "ip": device.ip,
            "user_agent": device.user_agent,
            "amr": ["pwd"],
            "created_at": now,
            "authenticated_at": now,
            "last_used_at": now,
            "expires_at": now + timedelta(seconds=setting(ABSOLUTE_SECONDS)),
        }
    )
    emit(SessionStarted(user_id, session.id))
    of_user = {"user_id": user_id, "most": setting(SESSIONS_PER_USER), **live_at(now)}
    if surplus := _NEWEST_BEYOND.in_unit(of_user):
        others = sa.tuple_(Session.created_at, Session.id) <= sa.tuple_(surplus.created_at, surplus.id)
        end(user_id, others, *LIVE, reason="evicted")
    return session


def _with_tokens(key: Key, session: Any, user: Any) -> dict[str, Any]:
    access = tokens.make_access_token(
        key,
        user.id,
        {
            "sid": str(session.id),
            "gen": session.generation,
            "roles": user.roles,
            "scope": " ".join(sorted(roles.permissions_of(user.roles))),
            "amr": session.amr,
            "auth_time": int(session.authenticated_at.timestamp()),
        },
        not_after=session.expires_at,
    )
    return {
        "session": _described(session, session.id),
        "user": user,
        "access_token": access.text,
        "token_type": "Bearer",
        "expires_in": max(0, int((access.expires_at - clock.now()).total_seconds())),
        "expires_at": access.expires_at,
        "refresh_token": tokens.make_refresh_token(session.id, session.generation),
    }


def _described(session: Any, current: UUID | None) -> dict[str, Any]:
    idle_end = session.last_used_at + timedelta(seconds=setting(IDLE_SECONDS))
    return {
        "id": session.id,
        "device_name": session.device_name,
        "user_agent": session.user_agent,
        "ip": session.ip,
        "amr": session.amr,
        "created_at": session.created_at,
        "last_used_at": session.last_used_at,
        "expires_at": min(session.expires_at, idle_end),
        "current": session.id == current,
    }
