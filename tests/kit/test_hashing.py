"""Password hashes: what they cost, and that all processes together never make too many at once."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import bcrypt
import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError

from api.kit import foreign_hashes, hashing
from api.kit.hashing import UNKNOWN_PEPPER, Argon2id, Hasher, usable_cores
from api.kit.peppers import Peppers
from api.kit.problems import Overloaded
from tests.support.servers import ROOT
from tests.support.waiting import DEADLINE, wait_until
from tests.support.watching import crowded

MEMORY_KIB, TIME_COST = 19456, 2
PLACES = 4
PASSWORD = "correct horse battery staple"
OLD, NEW = "4b1f0c7e92a85d36" * 2, "e7d20a5c81f3964b" * 2
FOREIGN = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()

# Hashes and verifies in many threads, and prints when each piece of work began and ended.
WORK = """
import json, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from api.kit import hashing
from api.kit.hashing import Argon2id, Hasher

hashing.WAIT_SECONDS = 60.0  # a busy machine makes nobody give up
spans = []

class Watched(Argon2id):
    def hash(self, *args, **kwargs):
        begin = time.monotonic_ns()
        try:
            return super().hash(*args, **kwargs)
        finally:
            spans.append((begin, time.monotonic_ns()))

    def verify(self, *args, **kwargs):
        begin = time.monotonic_ns()
        try:
            return super().verify(*args, **kwargs)
        finally:
            spans.append((begin, time.monotonic_ns()))

cores = int(sys.argv[2])
hasher = Hasher(19456, 2, Path(sys.argv[1]), cores)
hasher._argon2 = Watched(19456, 2)
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(4) as pool:
    for number in range(6):
        pool.submit(hasher.hash, "a") if number % 2 else pool.submit(hasher.verify, None, "a")
print(json.dumps(spans))
"""

# Takes the one slot, says so, and keeps it until the end.
HOLD = """
import sys
from pathlib import Path
from api.kit.hashing import Argon2id, Slots

with Slots(Path(sys.argv[1]), 1).one():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody give up waiting because the machine is busy."""
    monkeypatch.setattr(hashing, "WAIT_SECONDS", DEADLINE)


@pytest.fixture
def hasher(tmp_path: Path) -> Hasher:
    return Hasher(MEMORY_KIB, TIME_COST, tmp_path, cores=1, places=PLACES)


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Run a program with the service's modules in a process of its own."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


def at_once(spans: list[tuple[int, int]]) -> int:
    """Return how many spans overlap at most."""
    changes = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


@pytest.mark.parametrize("cores", [1, 2])
def test_two_processes_together_hash_no_more_at_once_than_there_are_cores(tmp_path: Path, cores: int) -> None:
    processes = [start(WORK, tmp_path, cores) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    spans: list[tuple[int, int]] = []
    for process in processes:
        output, _ = process.communicate(timeout=DEADLINE)
        found: list[Any] = json.loads(output)
        spans += [(begin, end) for begin, end in found]
    assert len(spans) == 12
    assert at_once(spans) <= cores


def test_what_a_killed_process_held_is_free_again(hasher: Hasher, tmp_path: Path) -> None:
    holder = start(HOLD, tmp_path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    hashes: list[str] = []
    waiting = threading.Thread(target=lambda: hashes.append(hasher.hash(PASSWORD)))
    with _looks(hasher) as looks:
        waiting.start()
        wait_until(lambda: len(looks) >= 10, "it looks for a slot again and again")
        assert (any(looks), hashes) == (False, [])
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
        waiting.join(DEADLINE)
    assert len(hashes) == 1


@contextmanager
def _looks(hasher: Hasher) -> Iterator[list[bool]]:
    """Yield a list that grows each time the hasher looks for a free slot, by whether there was one."""
    looks: list[bool] = []
    free = hasher._slots._free

    def look() -> int | None:
        slot = free()
        looks.append(slot is not None)
        return slot

    with patch.object(hasher._slots, "_free", look):
        yield looks


def test_a_slot_is_free_again_after_an_error(hasher: Hasher) -> None:
    with pytest.raises(UnicodeEncodeError):
        hasher.hash("\ud800")
    assert hasher.hash(PASSWORD)


def test_who_comes_when_the_queue_is_full_is_refused_at_once(hasher: Hasher) -> None:
    with crowded(hasher):
        for work in (
            lambda: hasher.hash(PASSWORD),
            lambda: hasher.verify(None, PASSWORD),
            lambda: hasher.verify(FOREIGN, PASSWORD),
        ):
            with pytest.raises(Overloaded) as refusal:
                work()
            assert int(refusal.value.headers["Retry-After"]) >= 1
    assert hasher.hash(PASSWORD)


def test_as_many_as_the_queue_has_places_all_get_their_hash(tmp_path: Path) -> None:
    hasher = Hasher(MEMORY_KIB, TIME_COST, tmp_path, cores=2, places=PLACES)
    hashes: list[str] = []
    threads = [threading.Thread(target=lambda: hashes.append(hasher.hash(PASSWORD))) for _ in range(PLACES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(set(hashes)) == len(threads)


class _Watched(Argon2id):
    """Notes which hashes it verifies."""

    def __init__(self) -> None:
        super().__init__(MEMORY_KIB, TIME_COST)
        self.verified: list[str] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002  # argon2's word
        self.verified.append(str(hash))
        return super().verify(hash, password)


def test_nobody_costs_what_somebody_costs(hasher: Hasher) -> None:
    argon2 = hasher._argon2 = _Watched()
    hasher.verify(hasher.hash(PASSWORD), "wrong")
    hasher.verify(None, "wrong")
    somebody, nobody = map(extract_parameters, argon2.verified)
    assert somebody == nobody


def test_argon2_cffi_and_libsodium_read_each_others_hashes(hasher: Hasher) -> None:
    elsewhere = PasswordHasher(TIME_COST, MEMORY_KIB, 1)
    assert elsewhere.verify(hasher.hash(PASSWORD), PASSWORD)
    theirs = elsewhere.hash(PASSWORD)
    assert hasher.verify(theirs, PASSWORD)
    assert not hasher.verify(theirs, PASSWORD.upper())
    assert not hasher.is_outdated(theirs)


def test_nobody_has_no_password(hasher: Hasher) -> None:
    assert not any(hasher.verify(None, password) for password in ("", PASSWORD, "None", hasher._nobody))


def test_a_password_opens_its_hash_and_no_other(hasher: Hasher) -> None:
    hashed = hasher.hash(PASSWORD)
    assert hasher.verify(hashed, PASSWORD)
    assert not hasher.verify(hashed, PASSWORD + " ")


@pytest.mark.parametrize("unreadable", ["", "!", "$argon2id$", "$argon2id$v=19$m=1,t=1,p=1$a$b", "$2b$12$x"])
def test_a_hash_that_cannot_be_read_is_never_right(hasher: Hasher, unreadable: str) -> None:
    assert not hasher.verify(unreadable, PASSWORD)


def test_a_hash_of_other_parameters_is_outdated(tmp_path: Path, hasher: Hasher) -> None:
    hashed = hasher.hash(PASSWORD)
    assert not hasher.is_outdated(hashed)
    assert Hasher(MEMORY_KIB, TIME_COST + 1, tmp_path).is_outdated(hashed)
    assert Hasher(MEMORY_KIB + 1024, TIME_COST, tmp_path).is_outdated(hashed)


def test_a_hash_of_old_parameters_still_opens(tmp_path: Path, hasher: Hasher) -> None:
    assert Hasher(MEMORY_KIB, TIME_COST + 1, tmp_path).verify(hasher.hash(PASSWORD), PASSWORD)


def peppered(folder: Path, *peppers: str) -> Hasher:
    return Hasher(MEMORY_KIB, TIME_COST, folder, cores=1, places=PLACES, peppers=Peppers(peppers))


def test_a_peppered_hash_opens_with_its_password_alone(tmp_path: Path) -> None:
    hasher = peppered(tmp_path, NEW)
    hashed = hasher.hash(PASSWORD)
    assert hasher.verify(hashed, PASSWORD)
    assert not hasher.verify(hashed, PASSWORD + " ")
    assert not hasher.is_outdated(hashed)


def test_a_peppered_hash_cannot_be_tried_without_the_pepper(tmp_path: Path) -> None:
    hashed = peppered(tmp_path, NEW).hash(PASSWORD)
    stolen = re.sub(",keyid=[^$]+", "", hashed)
    assert extract_parameters(stolen)
    with pytest.raises(VerifyMismatchError):
        PasswordHasher().verify(stolen, PASSWORD)


def test_a_hash_names_its_pepper_and_tells_nothing_of_it(tmp_path: Path) -> None:
    """The PHC string format has a `keyid` of at most 11 characters behind the parameters."""
    hashed = {pepper: peppered(tmp_path, pepper).hash(PASSWORD) for pepper in (OLD, NEW)}
    ids = {found[1] for text in hashed.values() if (found := re.search(r",p=1,keyid=([\w+/]{8})\$", text))}
    assert len(ids) == 2
    assert not [key_id for key_id in ids if key_id.lower() in (OLD + NEW)]
    assert all(len(text) <= foreign_hashes.MAXIMUM_LENGTH for text in hashed.values())


def test_a_hash_of_an_older_pepper_opens_and_is_outdated(tmp_path: Path) -> None:
    hashed = peppered(tmp_path, OLD).hash(PASSWORD)
    rotated = peppered(tmp_path, NEW, OLD)
    assert rotated.verify(hashed, PASSWORD)
    assert rotated.is_outdated(hashed)


def test_a_hash_without_a_pepper_opens_and_is_outdated_where_there_is_one(
    tmp_path: Path, hasher: Hasher
) -> None:
    hashed = hasher.hash(PASSWORD)
    assert peppered(tmp_path, NEW).verify(hashed, PASSWORD)
    assert peppered(tmp_path, NEW).is_outdated(hashed)


@pytest.mark.parametrize("left", [(), (NEW,)], ids=["none", "another"])
def test_a_hash_whose_pepper_is_gone_opens_to_nobody(tmp_path: Path, left: tuple[str, ...]) -> None:
    hashed = peppered(tmp_path, OLD).hash(PASSWORD)
    hasher = peppered(tmp_path, *left)
    assert not hasher.verify(hashed, PASSWORD)
    assert hasher.judge(hashed) == UNKNOWN_PEPPER


@pytest.mark.parametrize("peppers", [(), (NEW,), (NEW, OLD)], ids=["none", "one", "two"])
def test_every_way_to_be_refused_costs_one_hash_of_today(tmp_path: Path, peppers: tuple[str, ...]) -> None:
    hasher = peppered(tmp_path, *peppers)
    wrong, gone = hasher.hash("another"), peppered(tmp_path, "f0" * 4 + "a19c5b7d" * 3).hash(PASSWORD)
    argon2 = hasher._argon2 = _Watched()
    for hashed in (None, wrong, gone, "", "unreadable", f"scrypt:524288:8:1$salt${'0f' * 64}"):
        assert not hasher.verify(hashed, PASSWORD)
    assert len(argon2.verified) == 6
    assert len({str(extract_parameters(text)) for text in argon2.verified}) == 1


def test_a_hash_from_elsewhere_opens_and_is_outdated(hasher: Hasher) -> None:
    assert hasher.judge(FOREIGN) is None
    assert hasher.verify(FOREIGN, PASSWORD)
    assert not hasher.verify(FOREIGN, PASSWORD.upper())
    assert hasher.is_outdated(FOREIGN)


def test_a_hash_from_elsewhere_takes_the_password_as_it_was_typed(hasher: Hasher) -> None:
    typed = "pre\u0301fe\u0301re\u0301e\u00a01"
    assert hasher.verify(bcrypt.hashpw(typed.encode(), bcrypt.gensalt(4)).decode(), typed)


def test_ones_own_hash_is_never_too_costly(tmp_path: Path, hasher: Hasher) -> None:
    dear = f"$argon2id$v=19$m=300000,t=8,p=1${'A' * 22}${'A' * 43}"
    assert hasher.judge(dear) == foreign_hashes.TOO_COSTLY
    assert Hasher(300000, 8, tmp_path).judge(dear) is None


def test_the_machine_has_a_core_to_use() -> None:
    assert usable_cores() >= 1
