"""Access tokens (RFC 9068) and refresh tokens: made and read, never stored."""

import hashlib
import hmac
import random
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, NamedTuple
from uuid import UUID

import jwt
import orjson
from flask import Flask, g
from flask_jwt_extended import JWTManager, create_access_token

from api.kit import clock, encoding
from api.kit.config import PUBLIC_URL
from api.kit.problems import InvalidToken, Problem
from api.kit.service import extension, service, setting
from api.kit.settings import Settings
from api.sessions.keys import ACCESS_TOKEN_SECONDS, ALGORITHM, CLOCK_SKEW_SECONDS, Key, Keyring, keyring
from schemas.base import CANONICAL_UUID

TYPE = "at+jwt"
_CLAIMS = {
    "type": str, "iss": str, "sub": str, "aud": str, "jti": str, "sid": str, "scope": str,
    "iat": int, "nbf": int, "exp": int, "auth_time": int, "gen": int, "roles": list, "amr": list,
}  # fmt: skip
_SIGNATURE = jwt.get_algorithm_by_name(ALGORITHM)
_random = random.SystemRandom()
_REFRESH = re.compile(r"tsr_([A-Za-z0-9_-]{70})")


class SignInAgain(Problem):
    """A refusal that only another sign-in mends."""

    status = 401
    remedy = "Sign in again."

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": "Bearer"})


class InvalidRefreshToken(SignInAgain):
    code = "invalid_refresh_token"
    title = "The refresh token is not valid"
    detail = "The refresh token is malformed or not from here."
    keeps_writes = True  # what was noted of it


@dataclass(frozen=True)
class AccessToken:
    """An access token and the instant of its end."""

    text: str = field(repr=False)
    expires_at: datetime


class Bearer(NamedTuple):
    """Whom an access token is of, with which generation of the session it was issued, by which key."""

    user_id: UUID
    session_id: UUID
    generation: int
    kid: str


class VerifiedTokens:
    """Whose the tokens are that were verified before, by digest: a signature costs 100 us to verify.

    At most `most` of them; the oldest goes first. Whether the session lives is asked each time.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._adding = Lock()
        self._known: dict[bytes, tuple[float, Bearer]] = {}

    def get(self, digest: bytes) -> Bearer | None:
        """Return whose the token is, or None for one that is not known or has expired."""
        until, bearer = self._known.get(digest, (0.0, None))
        return bearer if clock.now().timestamp() < until else None

    def add(self, digest: bytes, bearer: Bearer, until: float) -> None:
        """Remember whose a verified token is until it expires."""
        with self._adding:
            while len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            self._known[digest] = until, bearer


def init_tokens(app: Flask, settings: Settings) -> None:
    """Let Flask-JWT-Extended sign with our keys, for our issuer and audience."""
    url = settings[PUBLIC_URL]
    app.extensions["tessera.keyring"] = Keyring(app.extensions["tessera"].seal("signing-key"))
    app.extensions["tessera.verified_tokens"] = VerifiedTokens()
    app.config |= {
        "JWT_ALGORITHM": ALGORITHM,
        "JWT_DECODE_ALGORITHMS": [ALGORITHM],
        "JWT_TOKEN_LOCATION": ["headers"],
        "JWT_COOKIE_CSRF_PROTECT": False,  # else each token carries a claim for cookies
        "JWT_ENCODE_ISSUER": url,
        "JWT_ENCODE_AUDIENCE": url,
    }
    manager = JWTManager(app)
    manager.encode_key_loader(lambda _identity: g.signing_key.private)


def make_access_token(key: Key, user_id: UUID, claims: dict[str, Any], *, not_after: datetime) -> AccessToken:
    """Return a token for a user that carries `claims` besides the registered ones.

    It ends at `not_after` at the latest.
    """
    longest = setting(ACCESS_TOKEN_SECONDS)
    lifetime = longest - _random.randint(0, longest // 20)
    expires_at = min(clock.now() + timedelta(seconds=lifetime), not_after).replace(microsecond=0)
    g.signing_key = key
    text = create_access_token(
        str(user_id),
        additional_claims=claims | {"exp": int(expires_at.timestamp())},
        additional_headers={"typ": TYPE, "kid": key.kid},
    )
    return AccessToken(text, expires_at)


def read_access_token(token: str) -> Bearer:
    """Return whose token it is; raises InvalidToken for one that is not ours.

    A token that was verified before is remembered until it expires or its key is retired.
    """
    verified: VerifiedTokens = extension("tessera.verified_tokens")
    digest = hashlib.sha256(token.encode()).digest()
    if (known := verified.get(digest)) and keyring().find(known.kid):
        return known
    kid, claims = _verify(token)
    bearer = Bearer(UUID(claims["sub"]), UUID(claims["sid"]), claims["gen"], kid)
    verified.add(digest, bearer, claims["exp"] + setting(CLOCK_SKEW_SECONDS))
    return bearer


def _verify(token: str) -> tuple[str, dict[str, Any]]:
    """Return the key's id and the claims of an access token of ours; raises InvalidToken.

    What is forged is refused by its signature alone: PyJWT, which judges the rest, takes as long again to
    take a token apart, and Flask-JWT-Extended has it do so three times.
    """
    url = setting(PUBLIC_URL)
    try:
        header, _, signature = map(encoding.decode, token.split("."))  # none has a second spelling
        key = _key_of(orjson.loads(header))
        if not _SIGNATURE.verify(token.rpartition(".")[0].encode(), key.public, signature):
            raise InvalidToken()
        claims = jwt.decode(
            token, key.public, [ALGORITHM], audience=url, issuer=url, leeway=setting(CLOCK_SKEW_SECONDS)
        )
    except (jwt.PyJWTError, ValueError) as error:
        raise InvalidToken() from error
    _require_claims(claims)
    return key.kid, claims


def _key_of(header: Any) -> Key:
    """Return the key of a token that says it is an access token of ours, before it is believed."""
    if not isinstance(header, dict) or header.keys() != {"alg", "kid", "typ"} or header["typ"] != TYPE:
        raise InvalidToken()
    key = keyring().find(header["kid"])
    if key is None:
        raise InvalidToken()
    return key


def _require_claims(claims: dict[str, Any]) -> None:
    if not all(type(claims.get(name)) is kind for name, kind in _CLAIMS.items()):
        raise InvalidToken()
    if claims["type"] != "access" or claims["exp"] - claims["iat"] > setting(ACCESS_TOKEN_SECONDS):
        raise InvalidToken()
    if not all(re.fullmatch(CANONICAL_UUID, claims[name]) for name in ("sub", "sid")):
        raise InvalidToken()


def make_refresh_token(session_id: UUID, generation: int) -> str:
    """Return the refresh token of a generation: the same each time it is asked for."""
    name = session_id.bytes + generation.to_bytes(4)
    tag = _tag(service().keys("refresh-token")[0], name)
    return f"tsr_{encoding.encode(name + tag)}"


def read_refresh_token(token: str) -> tuple[UUID, int]:
    """Return (session id, generation) of a token of ours; raises InvalidRefreshToken, asking no database."""
    match = _REFRESH.fullmatch(token)
    if match is None:
        raise InvalidRefreshToken()
    name, tag = _split(match[1])
    keys = service().keys("refresh-token")
    matches = [hmac.compare_digest(tag, _tag(key, name)) for key in keys]  # all, whichever is right
    if not any(matches):
        raise InvalidRefreshToken()
    return UUID(bytes=name[:16]), int.from_bytes(name[16:])


def _split(text: str) -> tuple[bytes, bytes]:
    try:
        content = encoding.decode(text)
    except ValueError as error:
        raise InvalidRefreshToken() from error
    return content[:20], content[20:]


def _tag(key: bytes, name: bytes) -> bytes:
    return hmac.digest(key, name, hashlib.sha256)
