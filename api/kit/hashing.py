"""Password hashes: argon2id with a pepper, never more at once than the machine has cores."""

import fcntl
import os
import re
import secrets
import sys
import time
import unicodedata
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import BoundedSemaphore, get_native_id
from typing import Literal

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from nacl.exceptions import InvalidkeyError
from nacl.pwhash import argon2id

from api.kit import clock, foreign_hashes
from api.kit.peppers import Peppers
from api.kit.problems import Overloaded
from api.kit.service import extension
from api.kit.settings import Setting, integer
from schemas.messages import Message

# OWASP Password Storage Cheat Sheet: argon2id with m=19 MiB, t=2, p=1 is the least.
HASH_MEMORY_KIB = Setting(
    "HASH_MEMORY_KIB", "Memory of one password hash, in KiB.", 19456, integer(19456, 4194304)
)
HASH_TIME_COST = Setting("HASH_TIME_COST", "Passes of one password hash.", 2, integer(2, 64))

WAIT_SECONDS = 2.0  # that a hash waits for a core
NICENESS = 5  # of the threads that hash: enough for others to go first, and not to wait for ever
POLL_SECONDS = 0.002  # between two looks; a hash takes ten times as long
UNKNOWN_PEPPER = Message("unknown_pepper", "Was made with a pepper that is not configured.")
# The pepper's id is where the PHC string format has it: behind the parameters of argon2.
_PEPPERED = re.compile(r"(\$argon2id\$v=19\$[^$,]+,[^$,]+,[^$,]+),keyid=([A-Za-z0-9+/]{1,11})(\$.+)")


class Argon2id(PasswordHasher):
    """argon2id with one lane, by libsodium, which uses the vectors that this processor has.

    argon2-cffi is built for the oldest processors: it is for parameters that libsodium cannot have.
    """

    def __init__(self, memory_kib: int, time_cost: int) -> None:
        super().__init__(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        if salt is not None:
            return super().hash(password, salt=salt)
        return argon2id.str(_bytes_of(password), self.time_cost, self.memory_cost << 10).decode()

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002  # argon2's word
        if self.check_needs_rehash(hash):
            return super().verify(hash, password)
        try:
            argon2id.verify(_bytes_of(hash), _bytes_of(password))
        except InvalidkeyError as error:
            raise VerifyMismatchError() from error
        return True


def _bytes_of(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


class Hasher:
    """Hashes and verifies; raises Overloaded when too many wait already.

    Takes passwords as they are typed. A hash is `$argon2id$v=19$m=...,t=...,p=1,keyid=...$salt$hash`,
    without `keyid` where there is no pepper (docs/adr/0010-passwords.md).

    All processes that share `folder` share the cores: each hash holds the lock of one of
    `cores` files there, and the operating system frees it even when a process is killed. At most
    `places` threads of this process wait for a hash, which threads of its own make: their memory is
    what hashing takes.
    """

    def __init__(
        self,
        memory_kib: int,
        time_cost: int,
        folder: Path,
        cores: int | None = None,
        places: int = 32,
        peppers: Peppers | None = None,
    ) -> None:
        self._argon2 = Argon2id(memory_kib, time_cost)
        self._slots = Slots(folder, cores or usable_cores())
        self._queue = Queue(places)
        self._threads = ThreadPoolExecutor(cores or usable_cores(), "hash", _step_back)
        self._peppers = peppers or Peppers()
        self._todays = re.compile(
            rf"\$argon2id\$v=19\$m={memory_kib},t={time_cost},p=1\$[A-Za-z0-9+/]{{22}}\$[A-Za-z0-9+/]{{43}}"
        )
        self._nobody = self._signed(self._hash_of_nothing(memory_kib, time_cost))

    def refuse_when_full(self) -> None:
        """Refuse now who would be refused later, before work that would be lost; raises Overloaded."""
        with self._queue.place():
            pass

    def hash(self, password: str) -> str:
        """Return a hash of today's parameters and pepper."""
        mixed = self._peppers.mix(comparable_password(password), self._peppers.newest)
        with self._queue.place(), self._slots.one():
            return self._signed(self._threads.submit(self._argon2.hash, mixed).result())

    def verify(self, hashed: str | None, password: str) -> bool:
        """Tell whether the password is the one.

        None, and a hash that `judge` refuses, cost what a hash of today does, and none is right.
        """
        usable = self._nobody if hashed is None or self.judge(hashed) else hashed
        with self._queue.place(), self._slots.one():
            return self._threads.submit(self._is_right, usable, password).result()

    def is_outdated(self, hashed: str) -> bool:
        """Tell whether the hash was made otherwise than today: other parameters, pepper or system."""
        plain, key_id = _without_key_id(hashed)
        return key_id != self._peppers.newest or not self._is_todays(plain)

    def judge(self, hashed: str) -> Message | None:
        """Return why a hash from elsewhere may not be stored, or None; never raises."""
        if self._todays.fullmatch(hashed):  # what most have, told quickly
            return None
        plain, key_id = _without_key_id(hashed)
        if not self._peppers.knows(key_id):
            return UNKNOWN_PEPPER
        return None if self._is_todays(plain) else foreign_hashes.judge(plain)

    def _is_right(self, hashed: str, password: str) -> bool:
        plain, key_id = _without_key_id(hashed)
        if not plain.startswith("$argon2"):
            return foreign_hashes.verify(plain, password)
        try:
            return self._argon2.verify(plain, self._peppers.mix(comparable_password(password), key_id))
        except (VerificationError, InvalidHashError):
            return False

    def _is_todays(self, plain: str) -> bool:
        try:
            return not self._argon2.check_needs_rehash(plain)
        except InvalidHashError:
            return False

    def _signed(self, plain: str) -> str:
        """Return the hash with the newest pepper's id."""
        key_id = self._peppers.newest
        head, salt, digest = plain.rsplit("$", 2)
        return plain if key_id is None else f"{head},keyid={key_id}${salt}${digest}"

    @staticmethod
    def _hash_of_nothing(memory_kib: int, time_cost: int) -> str:
        """Return a hash that no password has, without the cost of making one."""
        salt, digest = (b64encode(secrets.token_bytes(n)).decode().rstrip("=") for n in (16, 32))
        return f"$argon2id$v=19$m={memory_kib},t={time_cost},p=1${salt}${digest}"


def comparable_password(password: str) -> str:
    """Return the form of a password that is hashed.

    These are the mappings of OpaqueString (RFC 8265 section 4.2): other spaces become U+0020, and
    the whole NFC. Its set of characters is not kept to: it has no place for joined emoji.
    """
    spaced = "".join(" " if unicodedata.category(c) == "Zs" else c for c in password)
    return unicodedata.normalize("NFC", spaced)


def _without_key_id(hashed: str) -> tuple[str, str | None]:
    """Return the hash as argon2 reads it, and the id of its pepper."""
    found = _PEPPERED.fullmatch(hashed)
    return (hashed, None) if found is None else (found[1] + found[3], found[2])


def _step_back() -> None:
    """Let other threads go first (Linux): who asks for little shall not wait for a hash."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, get_native_id(), NICENESS)


class Queue:
    """At most `places` threads of this process at once: who comes later is refused, not kept."""

    def __init__(self, places: int) -> None:
        self._places = BoundedSemaphore(places)

    @contextmanager
    def place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise Overloaded()
        try:
            yield
        finally:
            self._places.release()


class Slots:
    """`count` locks in a folder, held over processes; the threads of this one queue for them in order."""

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._count = count
        self._turns = BoundedSemaphore(count)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold one of the locks; raises Overloaded when none gets free for WAIT_SECONDS."""
        deadline = clock.monotonic() + WAIT_SECONDS
        if not self._turns.acquire(timeout=WAIT_SECONDS):
            raise Overloaded()
        try:
            slot = self._take(deadline)
            try:
                yield
            finally:
                os.close(slot)
        finally:
            self._turns.release()

    def _take(self, deadline: float) -> int:
        """Return a lock; other processes are waited for by looking again and again."""
        while (slot := self._free()) is None:
            if clock.monotonic() > deadline:
                raise Overloaded()
            time.sleep(POLL_SECONDS)
        return slot

    def _free(self) -> int | None:
        for number in range(self._count):
            slot = self._open(number)
            try:
                fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(slot)
            else:
                return slot
        return None

    def _open(self, number: int) -> int:
        return os.open(self._folder / f"hash-{number}", os.O_RDWR | os.O_CREAT, 0o600)


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def hasher() -> Hasher:
    found: Hasher = extension("tessera.hasher")
    return found
