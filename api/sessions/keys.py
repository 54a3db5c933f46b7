"""Signing keys: made here, kept encrypted, known to every process before they sign, rotated, retired.

A key is published before it signs, so that whoever keeps the key set knows it in time, and its
successor's signature does not end it: it verifies until the last token that it signed has died.
Which key signs follows from the rows and the clock alone, so processes need not tell each other.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api.kit import clock, encoding, work
from api.kit.actor import as_service
from api.kit.events import Event
from api.kit.logger import get_logger
from api.kit.secrets import Seal
from api.kit.service import emit, extension, setting
from api.kit.settings import Setting, integer
from api.sessions.models import SigningKey

ALGORITHM = "ES256"  # docs/adr/0004-token-signature.md
RELOAD_SECONDS = 2  # after which a process reads the keys again
KEY_DAYS = Setting(
    "SIGNING_KEY_DAYS", "A signing key gets a successor after so many days.", 90, integer(1, 3650)
)
KEY_SET_SECONDS = Setting(
    "KEY_SET_SECONDS",
    "For so long others may keep the key set; a new key is published so much before it signs.",
    300,
    integer(1, 86400),
)
CLOCK_SKEW_SECONDS = Setting(
    "CLOCK_SKEW_SECONDS", "By so much the clocks of two servers may differ.", 30, integer(0, 300)
)
ACCESS_TOKEN_SECONDS = Setting(
    "ACCESS_TOKEN_SECONDS",
    "Life of an access token; up to 5 % shorter at random, so that refreshes spread.",
    900,
    integer(60, 86400),
)
T = TypeVar("T", bound=Any)


@dataclass(frozen=True)
class SigningKeyMade(Event):
    """There is another key, which is to sign."""

    actions = ("signing_key_made",)
    kid: str

    def details(self) -> dict[str, Any]:
        return {"kid": self.kid}


@dataclass(frozen=True)
class SigningKeyRetired(Event):
    """A key was ended at once, with all that it signed."""

    actions = ("signing_key_retired",)
    kid: str

    def details(self) -> dict[str, Any]:
        return {"kid": self.kid}


log = get_logger(source="tessera.keys")


@dataclass(frozen=True)
class Key:
    """A signing key, opened: it signs from `signs_from` until a later one does, and then it verifies."""

    number: int
    kid: str
    private: ec.EllipticCurvePrivateKey = field(repr=False)
    public: ec.EllipticCurvePublicKey
    created_at: datetime
    signs_from: datetime
    retires_at: datetime | None

    def is_alive(self, now: datetime) -> bool:
        return self.retires_at is None or now < self.retires_at

    def as_jwk(self) -> dict[str, Any]:
        """Return the public key as a JWK set holds it (RFC 7517)."""
        jwk = ECAlgorithm.to_jwk(self.public, as_dict=True)
        return {**jwk, "kid": self.kid, "alg": ALGORITHM, "use": "sig"}


class Keyring:
    """The keys as this process knows them, read again every RELOAD_SECONDS."""

    def __init__(self, seal: Seal) -> None:
        self.seal = seal
        self._reading = Lock()
        self._read_at: datetime | None = None
        self._keys: tuple[Key, ...] = ()
        self._not_opened: set[str] = set()

    def published(self) -> tuple[Key, ...]:
        """Return the keys that may verify, the newest first; call it before a unit of work writes.

        While the database does not answer, the keys stay those of before.
        """
        if self._is_stale():
            with self._reading:
                if self._is_stale():
                    self._read_again()
        now = clock.now()
        return tuple(key for key in self._keys if key.is_alive(now))

    def signing(self) -> Key:
        """Return the key that signs now."""
        return signing(self.published(), clock.now())

    def find(self, kid: object) -> Key | None:
        """Return the key of this id while it verifies; an unknown one is not asked for anywhere."""
        return next((key for key in self.published() if key.kid == kid), None)

    def forget(self) -> None:
        """Read the keys again before they are used next."""
        self._read_at = None

    def _is_stale(self) -> bool:
        age = None if self._read_at is None else abs((clock.now() - self._read_at).total_seconds())
        return age is None or age >= RELOAD_SECONDS

    def _read_again(self) -> None:
        try:
            rows = stored()
            self._keys = self._open(rows)
            with as_service():
                is_tended = self._tend(rows, self._keys)
            if is_tended:
                self._keys = self._open(stored())
        except (DBAPIError, PoolTimeout) as error:
            if not self._keys:
                raise
            log.warning("signing_keys_not_read", cause=type(error).__name__)
        self._read_at = clock.now()

    def _tend(self, rows: Sequence[sa.Row[Any]], keys: tuple[Key, ...]) -> bool:
        """Do what is due: a first key, a successor by age, the end of dead ones; tell whether it was."""
        now = clock.now()
        newest = rows[0].number if rows else 0
        if not any(key.is_alive(now) for key in keys):
            make_key(self.seal, after=newest, signs_from=now)
        elif rows[0].created_at + timedelta(days=setting(KEY_DAYS)) <= now:
            make_key(self.seal, after=newest, signs_from=now + lead())
        elif any(row.retires_at is not None and row.retires_at <= now for row in rows):
            _delete_dead(now)
        else:
            return False
        return True

    def _open(self, rows: Sequence[sa.Row[Any]]) -> tuple[Key, ...]:
        """Return the keys that our secrets open; of any other it is said once."""
        opened = {row.kid: open_key(self.seal, row) for row in rows}
        strange = {kid for kid, key in opened.items() if key is None}
        for kid in strange - self._not_opened:
            log.warning("signing_key_not_opened", kid=kid)
        self._not_opened = strange
        return tuple(key for key in opened.values() if key is not None)


def keyring() -> Keyring:
    found: Keyring = extension("tessera.keyring")
    return found


def lead() -> timedelta:
    """Return how long before it signs a key is published: until everybody has read it."""
    skew = setting(CLOCK_SKEW_SECONDS)
    return timedelta(seconds=setting(KEY_SET_SECONDS) + RELOAD_SECONDS + skew)


def aftermath() -> timedelta:
    """Return how long a key verifies once its successor signs: until its last token has died."""
    skew = setting(CLOCK_SKEW_SECONDS)
    return timedelta(seconds=setting(ACCESS_TOKEN_SECONDS) + RELOAD_SECONDS + 2 * skew)


def signing(keys: Sequence[T], now: datetime) -> T:
    """Return the key, or the row of a key, that signs: the newest one whose time has come."""
    return next((key for key in keys if key.signs_from <= now), keys[-1])


def rotate() -> None:
    """Publish a successor of the newest key."""
    keyring().published()  # there is one then
    make_key(keyring().seal, after=stored()[0].number, signs_from=clock.now() + lead())
    keyring().forget()


def retire(kid: str) -> bool:
    """End a key at once, with every token that it signed; return whether there was one.

    When it is the one that signs, another does from now on.
    """
    rows = stored()
    now = clock.now()
    if kid not in {row.kid for row in rows}:
        return False
    if signing(rows, now).kid == kid and not make_key(keyring().seal, after=rows[0].number, signs_from=now):
        return retire(kid)  # another was made meanwhile
    newest = sa.select(sa.func.max(SigningKey.number)).scalar_subquery()
    with work.apart() as connection:
        connection.execute(sa.delete(SigningKey).where(SigningKey.kid == kid))
        # Without a successor a key has no end.
        connection.execute(sa.update(SigningKey).where(SigningKey.number == newest).values(retires_at=None))
        emit(SigningKeyRetired(kid))
    keyring().forget()
    return True


def make_key(seal: Seal, after: int, signs_from: datetime) -> bool:
    """Store the key after the one of number `after`; of two made at once the first stays: tell if it did."""
    private = ec.generate_private_key(ec.SECP256R1())
    key = {
        "number": after + 1,
        "kid": thumbprint(private.public_key()),
        "private_key": seal.close(_written(private)),
        "created_at": clock.now(),
        "signs_from": signs_from,
    }
    before = sa.update(SigningKey).where(SigningKey.number <= after, SigningKey.retires_at.is_(None))
    try:
        with work.apart() as connection:
            connection.execute(sa.insert(SigningKey).values(key))
            connection.execute(before.values(retires_at=signs_from + aftermath()))
            emit(SigningKeyMade(str(key["kid"])))
    except IntegrityError:
        return False
    return True


def open_key(seal: Seal, row: sa.Row[Any]) -> Key | None:
    """Return a stored key; None for one that our secrets do not open, or that is not what it says."""
    try:
        private = serialization.load_der_private_key(seal.open(row.private_key), None)
    except ValueError:
        return None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or thumbprint(private.public_key()) != row.kid:
        return None
    dates = row.created_at, row.signs_from, row.retires_at
    return Key(row.number, row.kid, private, private.public_key(), *dates)


def stored() -> Sequence[sa.Row[Any]]:
    """Return the keys as they are stored, the newest first."""
    return work.read_all(sa.select(*SigningKey.__table__.columns).order_by(SigningKey.number.desc()))


def thumbprint(key: ec.EllipticCurvePublicKey) -> str:
    """Return the key's id (RFC 7638)."""
    jwk = ECAlgorithm.to_jwk(key, as_dict=True)
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    digest = hashlib.sha256(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)).digest()
    return encoding.encode(digest)


def _delete_dead(now: datetime) -> None:
    with work.apart() as connection:
        connection.execute(sa.delete(SigningKey).where(SigningKey.retires_at <= now))


def _written(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
