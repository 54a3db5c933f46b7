"""Password hashes: argon2id, never more at once than the machine has cores."""

import fcntl
import os
import secrets
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from api.kit import clock
from api.kit.problems import Overloaded
from api.kit.settings import Setting, integer

# OWASP Password Storage Cheat Sheet: argon2id with m=19 MiB, t=2, p=1 is the least.
HASH_MEMORY_KIB = Setting(
    "HASH_MEMORY_KIB", "Memory of one password hash, in KiB.", 19456, integer(19456, 4194304)
)
HASH_TIME_COST = Setting("HASH_TIME_COST", "Passes of one password hash.", 2, integer(2, 64))

WAIT_SECONDS = 2.0  # that a hash waits for a core
POLL_SECONDS = 0.002  # between two looks; a hash takes ten times as long


class Hasher:
    """Hashes and verifies; raises Overloaded when too many wait already.

    All processes that share `folder` share the cores: each hash holds the lock of one of
    `cores` files there, and the operating system frees it even when a process is killed. At most
    `places` threads of this process hash or wait to.
    """

    def __init__(
        self,
        memory_kib: int,
        time_cost: int,
        folder: Path,
        cores: int | None = None,
        places: int = 32,
    ) -> None:
        self._argon2 = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)
        self._slots = Slots(folder, cores or usable_cores())
        self._queue = Queue(places)
        self._nobody = self._hash_of_nothing(memory_kib, time_cost)

    def hash(self, password: str) -> str:
        """Return a PHC string: `$argon2id$v=19$m=...,t=...,p=1$salt$hash`."""
        with self._queue.place(), self._slots.one():
            return self._argon2.hash(password)

    def verify(self, hashed: str | None, password: str) -> bool:
        """Tell whether the password is the one; None costs the same work and is never right."""
        with self._queue.place(), self._slots.one():
            try:
                return self._argon2.verify(hashed or self._nobody, password)
            except (VerificationError, InvalidHashError):
                return False

    def is_outdated(self, hashed: str) -> bool:
        """Tell whether the hash was made with other parameters than today's."""
        return self._argon2.check_needs_rehash(hashed)

    @staticmethod
    def _hash_of_nothing(memory_kib: int, time_cost: int) -> str:
        """Return a hash that no password has, without the cost of making one."""
        salt, digest = (b64encode(secrets.token_bytes(n)).decode().rstrip("=") for n in (16, 32))
        return f"$argon2id$v=19$m={memory_kib},t={time_cost},p=1${salt}${digest}"


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
