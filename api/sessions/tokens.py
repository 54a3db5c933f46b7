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
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt.algorithms import ECAlgorithm

from api.kit import clock, encoding
from api.kit.config import PUBLIC_URL, SECRET_KEY
from api.kit.problems import InvalidToken, Problem
from api.kit.secrets import derive
from api.kit.service import extension, service, setting
from api.kit.settings import Setting, Settings, integer
from schemas.base import CANONICAL_UUID

ACCESS_TOKEN_SECONDS = Setting(
    "ACCESS_TOKEN_SECONDS",
    "Life of an access token; up to 5 % shorter at random, so that refreshes spread.",
    900,
    integer(60, 86400),
)
ALGORITHM = "ES256"  # docs/adr/0004-token-signature.md
TYPE = "at+jwt"
CLOCK_SKEW = 30  # seconds that the clocks of two servers may differ
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (FIPS 186-5)
_CLAIMS = {
    "iss": str, "sub": str, "aud": str, "jti": str, "sid": str, "scope": str,
    "iat": int, "nbf": int, "exp": int, "auth_time": int, "gen": int, "roles": list, "amr": list,
}  # fmt: skip
_random = random.SystemRandom()
_REFRESH = re.compile(r"tsr_([A-Za-z0-9_-]{70})")


class InvalidRefreshToken(Problem):
    status = 401
    code = "invalid_refresh_token"
    title = "The refresh token is not valid"
    detail = "The refresh token is malformed or not from here."
    remedy = "Sign in again."

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": "Bearer"})


@dataclass(frozen=True)
class AccessToken:
    """An access token and the instant of its end."""

    text: str = field(repr=False)
    expires_at: datetime


class SigningKeys:
    """The P-256 keys that sign and verify access tokens, one for each of the service's secrets."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        private = [_private_key(secret) for secret in secrets]
        self._public = {_thumbprint(key.public_key()): key.public_key() for key in private}
        self.signing = private[0]
        self.kid = next(iter(self._public))

    def public(self, kid: object) -> ec.EllipticCurvePublicKey:
        """Return a public key; raises jwt.InvalidTokenError for a key that is not ours."""
        if not isinstance(kid, str) or kid not in self._public:
            raise jwt.InvalidTokenError("unknown key")
        return self._public[kid]

    def key_set(self) -> list[dict[str, Any]]:
        """Return the public keys as a JWK set holds them (RFC 7517)."""
        return [
            {**ECAlgorithm.to_jwk(key, as_dict=True), "kid": kid, "alg": ALGORITHM, "use": "sig"}
            for kid, key in self._public.items()
        ]


class Bearer(NamedTuple):
    """Whom an access token is of, and with which generation of the session it was issued."""

    user_id: UUID
    session_id: UUID
    generation: int


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

    def add(self, digest: bytes, claims: dict[str, Any]) -> Bearer:
        """Remember a token whose claims are verified, and return whose it is."""
        bearer = Bearer(UUID(claims["sub"]), UUID(claims["sid"]), claims["gen"])
        with self._adding:
            while len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            self._known[digest] = claims["exp"] + CLOCK_SKEW, bearer
        return bearer


def init_tokens(app: Flask, settings: Settings) -> None:
    """Let Flask-JWT-Extended sign and verify with our keys, for our issuer and audience only."""
    keys = SigningKeys(settings[SECRET_KEY])
    url = settings[PUBLIC_URL]
    app.extensions["tessera.signing_keys"] = keys
    app.extensions["tessera.verified_tokens"] = VerifiedTokens()
    app.config |= {
        "JWT_ALGORITHM": ALGORITHM,
        "JWT_DECODE_ALGORITHMS": [ALGORITHM],
        "JWT_PRIVATE_KEY": keys.signing,
        "JWT_TOKEN_LOCATION": ["headers"],
        "JWT_COOKIE_CSRF_PROTECT": False,  # else each token carries a claim for cookies
        "JWT_DECODE_LEEWAY": CLOCK_SKEW,
        "JWT_ENCODE_ISSUER": url,
        "JWT_DECODE_ISSUER": url,
        "JWT_ENCODE_AUDIENCE": url,
        "JWT_DECODE_AUDIENCE": url,
    }
    manager = JWTManager(app)
    manager.decode_key_loader(lambda header, claims: _key_for(keys, header, claims))


def signing_keys() -> SigningKeys:
    found: SigningKeys = extension("tessera.signing_keys")
    return found


def make_access_token(user_id: UUID, claims: dict[str, Any]) -> AccessToken:
    """Return a token for a user that carries `claims` besides the registered ones."""
    longest = setting(ACCESS_TOKEN_SECONDS)
    lifetime = longest - _random.randint(0, longest // 20)
    expires_at = clock.now().replace(microsecond=0) + timedelta(seconds=lifetime)
    text = create_access_token(
        str(user_id),
        additional_claims=claims | {"exp": int(expires_at.timestamp())},
        additional_headers={"typ": TYPE, "kid": signing_keys().kid},
    )
    return AccessToken(text, expires_at)


def read_access_token(token: str) -> Bearer:
    """Return whose token it is; raises InvalidToken for one that is not ours.

    A token that was verified before is remembered until it expires.
    """
    verified: VerifiedTokens = extension("tessera.verified_tokens")
    digest = hashlib.sha256(token.encode()).digest()
    return verified.get(digest) or verified.add(digest, _verify(token))


def _verify(token: str) -> dict[str, Any]:
    """Return the claims of an access token of ours; raises InvalidToken."""
    try:
        for part in token.split("."):
            encoding.decode(part)  # a part with a second spelling is refused
        claims = decode_token(token)
    except (jwt.PyJWTError, JWTExtendedException, ValueError) as error:
        raise InvalidToken() from error
    _require_claims(claims)
    return claims


def _key_for(keys: SigningKeys, header: dict[str, Any], claims: dict[str, Any]) -> ec.EllipticCurvePublicKey:
    """Return the key of a token that says it is an access token of ours, before it is believed.

    Here the claims are as they were sent: later, Flask-JWT-Extended fills in a missing type.
    """
    if header.keys() != {"alg", "kid", "typ"} or header["typ"] != TYPE or claims.get("type") != "access":
        raise jwt.InvalidTokenError("not an access token")
    return keys.public(header["kid"])


def _require_claims(claims: dict[str, Any]) -> None:
    if not all(type(claims.get(name)) is kind for name, kind in _CLAIMS.items()):
        raise InvalidToken()
    if claims["exp"] - claims["iat"] > setting(ACCESS_TOKEN_SECONDS):
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


def _private_key(secret: str) -> ec.EllipticCurvePrivateKey:
    """Derive a key from a secret (FIPS 186-5 A.2.1: 64 bits more than the order, then reduced)."""
    number = int.from_bytes(derive(secret, "access-token", 40)) % (_ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())


def _thumbprint(key: ec.EllipticCurvePublicKey) -> str:
    """Return the key's id (RFC 7638)."""
    jwk = ECAlgorithm.to_jwk(key, as_dict=True)
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    digest = hashlib.sha256(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)).digest()
    return encoding.encode(digest)
