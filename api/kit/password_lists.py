"""Passwords that attackers try first: the list that comes with the service, and one of the operator's."""

import hashlib
import os
import re
import unicodedata
import weakref
from collections.abc import Container
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from api.kit.settings import Setting

PasswordList = Container[str]

WORDS_MAXIMUM = 8 << 20  # bytes of a list that is read into memory
_HASH = re.compile(rb"([0-9A-Fa-f]{40})(?::[0-9]{1,12})?\r?\n?")
_LINE = 64  # bytes: more than a line of hashes can have
_BEHIND_ALL = b"~"  # sorts behind every hash


def _read_path(value: str) -> Path:
    """Read the name of a list that can be used, or raise ValueError."""
    path = Path(value)
    try:
        with path.open("rb") as file:
            lines = [file.readline(_LINE) for _ in range(100)]
        size = path.stat().st_size
    except OSError as error:
        raise ValueError("must name a readable file") from error
    hashes = [found[1].upper() for line in lines if (found := _HASH.fullmatch(line))]
    if any(one > next_one for one, next_one in pairwise(hashes)):
        raise ValueError("must be sorted by hash")
    if not hashes and size > WORDS_MAXIMUM:
        raise ValueError(f"must be sorted SHA-1 hashes when it has more than {WORDS_MAXIMUM >> 20} MiB")
    return path.resolve()


PASSWORD_LIST: Setting[Path | None] = Setting(
    "PASSWORD_LIST",
    "File of more passwords that nobody may choose: one a line, or SHA-1 hashes sorted by hash as Have I "
    "Been Pwned offers them, of any size.",
    None,
    _read_path,
    default_text="none",
)


def folded(password: str) -> str:
    """Return the form in which a password is looked for: without regard to case."""
    return unicodedata.normalize("NFC", password.casefold())


class Words:
    """Passwords, one a line, read when first asked for.

    They stay one text: searching it is quick enough, and it takes a tenth of the memory of a set.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __contains__(self, password: object) -> bool:
        return isinstance(password, str) and "\n" not in password and f"\n{folded(password)}\n" in self._text

    @cached_property
    def _text(self) -> str:
        lines = self._path.read_text(encoding="utf-8-sig", errors="replace")
        return f"\n{folded(lines)}\n"


class Hashes:
    """SHA-1 hashes of passwords, one a line, with or without `:count`, found by bisection in the file.

    The file stays open, so one that is replaced is read again from the next start on.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self._size = os.fstat(self._file).st_size
        weakref.finalize(self, os.close, self._file)

    def __contains__(self, password: object) -> bool:
        digest = hashlib.sha1(str(password).encode(), usedforsecurity=False).hexdigest()
        wanted = digest.upper().encode()
        low, high = 0, self._size
        while low < high:
            middle = (low + high) // 2
            if self._first_from(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return self._first_from(low) == wanted

    def _first_from(self, offset: int) -> bytes:
        """Return the first hash whose line begins at the offset or behind it."""
        if offset == 0:
            lines = os.pread(self._file, _LINE, 0)
        else:
            lines = os.pread(self._file, 2 * _LINE, offset - 1).partition(b"\n")[2]
        found = _HASH.match(lines)
        return found[1].upper() if found else _BEHIND_ALL


COMMON = Words(Path(__file__).with_name("common_passwords.txt"))


def lists(operators: Path | None) -> tuple[PasswordList, ...]:
    """Return the lists that a new password may not be on."""
    return (COMMON,) if operators is None else (COMMON, _open(operators))


def _open(path: Path) -> PasswordList:
    with path.open("rb") as file:
        return Hashes(path) if _HASH.fullmatch(file.readline(_LINE)) else Words(path)
