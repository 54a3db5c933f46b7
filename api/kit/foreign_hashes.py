"""Password hashes that other systems made: told apart, bounded in their cost, verified, and never made."""

import hashlib
import hmac
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from schemas.messages import Message

# What one evaluation may cost: about a second of a core, measured in docs/adr/0010-passwords.md.
MAXIMUM_MEMORY = 256 << 20  # bytes
MAXIMUM_ARGON2_WORK = 1 << 30  # bytes, over all passes
MAXIMUM_ARGON2_PASSES = 64
MAXIMUM_LANES = 16  # argon2 starts a thread for each
MAXIMUM_SCRYPT_WORK = 256 << 20  # bytes, over all lanes
MAXIMUM_BCRYPT_COST = 14
MAXIMUM_PBKDF2_ROUNDS = 2_000_000
MINIMUM_DIGEST = 16  # bytes: fewer could be met by chance
MAXIMUM_LENGTH = 255  # characters: what the column holds

UNKNOWN = Message("unknown_hash", "Is no password hash of a kind that is accepted.")
TOO_COSTLY = Message("hash_too_costly", "Costs more to verify than is accepted.")
TOO_LONG = Message("too_long", "Must have at most {maximum} characters.", maximum=MAXIMUM_LENGTH)


class ForeignHash(Protocol):
    """A hash that was read: its parameters and what the password must give."""

    def is_too_costly(self) -> bool: ...

    def opens_with(self, password: str) -> bool: ...


def judge(hashed: str) -> Message | None:
    """Return why a hash may not be stored, or None; evaluates nothing and never raises."""
    if len(hashed) > MAXIMUM_LENGTH:
        return TOO_LONG
    try:
        found = _read(hashed)
    except ValueError:
        return UNKNOWN
    return TOO_COSTLY if found.is_too_costly() else None


def verify(hashed: str, password: str) -> bool:
    """Tell whether the password, as it was typed, is the one; what `judge` refuses has none."""
    try:
        return judge(hashed) is None and _read(hashed).opens_with(password)
    except ValueError:
        return False


@dataclass(frozen=True)
class Argon2:
    """RFC 9106, of any of the three types; `text` is the PHC string."""

    text: str
    memory_kib: int
    passes: int
    lanes: int

    def __post_init__(self) -> None:
        if self.memory_kib < 8 * self.lanes:
            raise ValueError("argon2 needs 8 KiB for each lane")

    def is_too_costly(self) -> bool:
        memory = self.memory_kib << 10
        return (
            memory > MAXIMUM_MEMORY
            or memory * self.passes > MAXIMUM_ARGON2_WORK
            or self.passes > MAXIMUM_ARGON2_PASSES
            or self.lanes > MAXIMUM_LANES
        )

    def opens_with(self, password: str) -> bool:
        try:
            return PasswordHasher().verify(self.text, password)
        except (VerificationError, InvalidHashError):
            return False


@dataclass(frozen=True)
class Bcrypt:
    """bcrypt, which sees 72 bytes; `sha256` is Django's way of letting it see all."""

    text: str
    cost: int
    sha256: bool = False

    def is_too_costly(self) -> bool:
        return self.cost > MAXIMUM_BCRYPT_COST

    def opens_with(self, password: str) -> bool:
        content = password.encode()
        if self.sha256:
            content = hashlib.sha256(content).hexdigest().encode()
        return bcrypt.checkpw(content[:72], self.text.encode())


@dataclass(frozen=True)
class Pbkdf2:
    """RFC 8018 section 5.2."""

    digest: str
    rounds: int
    salt: bytes
    expected: bytes

    def __post_init__(self) -> None:
        if len(self.expected) != hashlib.new(self.digest).digest_size:
            raise ValueError("another length than the digest's would cost as many times more")

    def is_too_costly(self) -> bool:
        return self.rounds > MAXIMUM_PBKDF2_ROUNDS

    def opens_with(self, password: str) -> bool:
        found = hashlib.pbkdf2_hmac(self.digest, password.encode(), self.salt, self.rounds)
        return hmac.compare_digest(found, self.expected)


@dataclass(frozen=True)
class Scrypt:
    """RFC 7914."""

    n: int
    r: int
    p: int
    salt: bytes
    expected: bytes

    def __post_init__(self) -> None:
        if self.n < 2 or self.n & (self.n - 1) or self.n >= 1 << 16 * min(self.r, 8):
            raise ValueError("n must be a power of two, and below 2 ** (128 * r / 8)")
        if len(self.expected) < MINIMUM_DIGEST:
            raise ValueError("too short to prove anything")

    def is_too_costly(self) -> bool:
        return 128 * self.n * self.r * self.p > min(MAXIMUM_SCRYPT_WORK, MAXIMUM_MEMORY)

    def opens_with(self, password: str) -> bool:
        return hmac.compare_digest(self._derive(password, len(self.expected)), self.expected)

    def _derive(self, password: str, length: int) -> bytes:
        limit = 2 * MAXIMUM_MEMORY
        return hashlib.scrypt(
            password.encode(), salt=self.salt, n=self.n, r=self.r, p=self.p, maxmem=limit, dklen=length
        )


@dataclass(frozen=True)
class FirebaseScrypt(Scrypt):
    """Firebase's: scrypt gives the key that encrypts the project's signer key (AES-256-CTR)."""

    signer_key: bytes

    def opens_with(self, password: str) -> bool:
        cipher = Cipher(AES(self._derive(password, 32)), CTR(bytes(16))).encryptor()
        found = cipher.update(self.signer_key) + cipher.finalize()
        return hmac.compare_digest(found, self.expected)


def _read(hashed: str) -> ForeignHash:
    """Return the hash; raises ValueError when it has none of the forms, or what it says cannot be."""
    for form, make in _FORMS:
        if found := form.fullmatch(hashed):
            return make(found)
    raise ValueError("has none of the forms")


def _argon2(found: re.Match[str]) -> Argon2:
    return Argon2(found["text"], int(found["m"]), int(found["t"]), int(found["p"]))


def _bcrypt(found: re.Match[str]) -> Bcrypt:
    return Bcrypt(found["text"], int(found["cost"]), sha256=found["django"] == "bcrypt_sha256$")


def _passlib_scrypt(found: re.Match[str]) -> Scrypt:
    numbers = (1 << int(found["ln"]), int(found["r"]), int(found["p"]))
    return Scrypt(*numbers, _decode(found["salt"]), _decode(found["hash"]))


def _django_scrypt(found: re.Match[str]) -> Scrypt:
    numbers = (int(found["n"]), int(found["r"]), int(found["p"]))
    return Scrypt(*numbers, found["salt"].encode(), _decode(found["hash"]))


def _werkzeug_scrypt(found: re.Match[str]) -> Scrypt:
    numbers = (int(found["n"]), int(found["r"]), int(found["p"]))
    return Scrypt(*numbers, found["salt"].encode(), bytes.fromhex(found["hash"]))


def _firebase_scrypt(found: re.Match[str]) -> FirebaseScrypt:
    numbers = (1 << int(found["ln"]), int(found["r"]), int(found["p"]))
    salt = _decode(found["salt"]) + _decode(found["separator"])
    return FirebaseScrypt(*numbers, salt, _decode(found["hash"]), _decode(found["key"]))


def _passlib_pbkdf2(found: re.Match[str]) -> Pbkdf2:
    digest = (found["digest"] or "-sha1").removeprefix("-")
    return Pbkdf2(digest, int(found["rounds"]), _decode(found["salt"]), _decode(found["hash"]))


def _django_pbkdf2(found: re.Match[str]) -> Pbkdf2:
    return Pbkdf2(found["digest"], int(found["rounds"]), found["salt"].encode(), _decode(found["hash"]))


def _werkzeug_pbkdf2(found: re.Match[str]) -> Pbkdf2:
    return Pbkdf2(found["digest"], int(found["rounds"]), found["salt"].encode(), bytes.fromhex(found["hash"]))


def _decode(text: str) -> bytes:
    """Read base64 with or without padding, in the alphabets of RFC 4648 and passlib's; or ValueError."""
    standard = text.rstrip("=").translate(str.maketrans("-_.", "+/+"))
    try:
        return b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except Base64Error as error:
        raise ValueError("is no base64") from error


def _form(pattern: str) -> re.Pattern[str]:
    """Return a form, in which <name:kind> stands for a group of that kind."""
    kinds = {
        "number": "[1-9][0-9]{0,9}",
        "power": "[1-9][0-9]?",
        "digest": "sha1|sha256|sha512",
        "text": "[!-#%-~]{1,128}",  # printable ASCII, less `$`
        "base64": "[A-Za-z0-9+/_.-]*={0,2}",
        "hex": "[0-9a-f]{2,256}",
    }
    return re.compile(re.sub(r"<(\w+):(\w+)>", lambda m: f"(?P<{m[1]}>{kinds[m[2]]})", pattern))


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], ForeignHash]], ...] = (
    (
        _form(
            r"(?:argon2(?=\$))?(?P<text>\$argon2(?:id|i|d)\$(?:v=(?:16|19)\$)?"
            r"m=<m:number>,t=<t:number>,p=<p:number>\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{22,})"
        ),
        _argon2,
    ),
    # The last character of the salt has only two bits to tell: others are read by no library alike.
    (
        _form(
            r"(?P<django>bcrypt\$|bcrypt_sha256\$)?"
            r"(?P<text>\$2[aby]\$(?P<cost>0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31})"
        ),
        _bcrypt,
    ),
    (
        _form(r"\$scrypt\$ln=<ln:power>,r=<r:number>,p=<p:number>\$<salt:base64>\$<hash:base64>"),
        _passlib_scrypt,
    ),
    (_form(r"scrypt\$<n:number>\$<salt:text>\$<r:number>\$<p:number>\$<hash:base64>"), _django_scrypt),
    (_form(r"scrypt:<n:number>:<r:number>:<p:number>\$<salt:text>\$<hash:hex>"), _werkzeug_scrypt),
    (
        _form(
            r"\$fbscrypt\$v=1,n=<ln:power>,r=<r:number>,p=<p:number>,ss=<separator:base64>,sk=<key:base64>"
            r"\$<salt:base64>\$<hash:base64>"
        ),
        _firebase_scrypt,
    ),
    (
        _form(r"\$pbkdf2(?P<digest>-sha256|-sha512)?\$<rounds:number>\$<salt:base64>\$<hash:base64>"),
        _passlib_pbkdf2,
    ),
    (_form(r"pbkdf2_<digest:digest>\$<rounds:number>\$<salt:text>\$<hash:base64>"), _django_pbkdf2),
    (_form(r"pbkdf2:<digest:digest>:<rounds:number>\$<salt:text>\$<hash:hex>"), _werkzeug_pbkdf2),
)
