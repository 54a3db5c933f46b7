"""Records of a file, from any byte at which one begins: NDJSON by lines, CSV by RFC 4180."""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from api.kit import strict_json
from api.kit.problems import MalformedJson
from schemas.bulk import END
from schemas.messages import Message

LONGEST = 256 * 1024  # bytes of a record
MARK = b"\xef\xbb\xbf"  # of byte order, that some write before UTF-8
TOO_LONG = Message("too_long", "Has more than {maximum} bytes.", maximum=LONGEST)
MALFORMED_JSON = Message("malformed_json", "Is not a JSON object on one line, in UTF-8.")
MALFORMED_CSV = Message(
    "malformed_csv", "Is not a record of CSV (RFC 4180): a quote is wrong, or never closed."
)
WRONG_WIDTH = Message("malformed_csv", "Has not as many cells as the header.")
_MEMBER = re.compile(rb'"\s*:')
_PLAIN_TYPES = {str, bool, type(None)}
_JSON_CELLS = ("roles", "metadata", "app_metadata")
_WORDS = {"true": True, "false": False}
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")

Line = tuple[bytes | None, int]  # None when it is too long; the bytes that it takes in the file


@dataclass(slots=True)
class Record:
    """One record: its first and last line, from 1, and the byte at which the next one begins.

    It has `values`, or else a `fault` at `pointer`.
    """

    line: int
    last_line: int
    end: int
    values: Any
    fault: Message | None = None
    pointer: str = ""


def lines(pieces: Iterable[bytes]) -> Iterator[Line]:
    """Yield the lines of a text that comes in pieces, keeping LONGEST bytes at most."""
    rest, lost = b"", 0
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield (None if lost or len(line) > LONGEST else line), lost + len(line) + 1
            lost = 0
        if len(rest) > LONGEST:
            rest, lost = b"", lost + len(rest)
    if rest or lost:
        yield (None if lost or len(rest) > LONGEST else rest), lost + len(rest)


def ndjson(found: Iterable[Line], position: int, line: int) -> Iterator[Record]:
    """Yield the objects of lines, the first of them at `position` after `line` others; skips empty ones."""
    for text, size in found:
        if text is not None and position == 0:
            text = text.removeprefix(MARK)
        position += size
        line += 1
        if text is None:
            yield Record(line, line, position, None, TOO_LONG)
        elif text and not text.isspace():
            yield _object(text, position, line)


def _object(text: bytes, end: int, line: int) -> Record:
    try:
        values = _loads(text)
    except ValueError:
        return Record(line, line, end, None, MALFORMED_JSON)
    except MalformedJson as problem:
        return Record(line, line, end, None, Message(MALFORMED_JSON.code, problem.detail))
    if type(values) is not dict:
        return Record(line, line, end, None, MALFORMED_JSON)
    return Record(line, line, end, values)


def _loads(text: bytes) -> Any:
    """Do what `strict_json.loads` does, in a fifth of its time for what it would not refuse.

    What could be a duplicate member, deep, or a large number is left to it. There are at most as many
    members as there are colons behind quotes.
    """
    values = orjson.loads(text)
    if type(values) is dict and _members(values) == _colons(text):
        return values
    return strict_json.loads(text)


def _colons(text: bytes) -> int:
    if b'" ' in text or b'"\t' in text or b'"\r' in text:
        return len(_MEMBER.findall(text))
    return text.count(b'":')


def _members(values: dict[str, Any]) -> int:
    """Return the number of members of an object and the objects in it, -1 when there is more than texts."""
    count = len(values)
    for value in values.values():
        kind = type(value)
        if kind is dict:
            if not _PLAIN_TYPES.issuperset(map(type, value.values())):
                return -1
            count += len(value)
        elif kind not in _PLAIN_TYPES and value != []:
            return -1
    return count


@dataclass(slots=True)
class Cells:
    """A record of CSV; without cells when it is none."""

    line: int
    last_line: int
    end: int
    cells: list[str] | None
    fault: Message = MALFORMED_CSV


def csv_cells(found: Iterable[Line], position: int, line: int) -> Iterator[Cells]:
    """Yield the records of lines, the first of them at `position` after `line` others; skips empty ones.

    What is none ends with its first line: a quote that is never closed does not swallow the file.
    """
    feed = _Feed(found, at_start=position == 0)
    reader = csv.reader(feed, strict=True)
    while True:
        feed.taken.clear()
        try:
            cells, fault = next(reader), MALFORMED_CSV
        except StopIteration:
            return
        except (csv.Error, _TooLong) as error:
            cells, fault = None, TOO_LONG if isinstance(error, _TooLong) else MALFORMED_CSV
            feed.give_back()
            reader = csv.reader(feed, strict=True)
        first = line + 1
        line += len(feed.taken)
        position += sum(size for _, size in feed.taken)
        if cells != []:
            yield Cells(first, line, position, cells, fault)


class _TooLong(Exception):
    """The record has more bytes than one may have."""


class _Feed:
    """The lines of a file as the csv module takes them; remembers those of the record at hand."""

    def __init__(self, found: Iterable[Line], *, at_start: bool) -> None:
        self._lines = iter(found)
        self._again: deque[Line] = deque()
        self._at_start = at_start
        self.taken: list[Line] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        text = line[0]
        if text is None or sum(size for _, size in self.taken) > LONGEST:
            raise _TooLong
        if self._at_start:
            text, self._at_start = text.removeprefix(MARK), False
        return f"{text.decode('utf-8', 'surrogateescape')}\n"

    def give_back(self) -> None:
        """Let all lines of the record but its first be read again."""
        self._again.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


def named(rows: Iterable[Cells], header: Sequence[str]) -> Iterator[Record]:
    """Yield what the cells say by the names of the header; an empty cell is null."""
    readers = [_READERS.get(name, _text) for name in header]
    for row in rows:
        if row.cells is None:
            yield Record(row.line, row.last_line, row.end, None, row.fault)
        elif row.cells[0] == END and header[0] == "id":  # as an export has it
            yield Record(row.line, row.last_line, row.end, {END: _count(row.cells)})
        elif len(row.cells) != len(header):
            yield Record(row.line, row.last_line, row.end, None, WRONG_WIDTH)
        else:
            yield _named(row, row.cells, header, readers)


def _named(
    row: Cells, cells: list[str], header: Sequence[str], readers: Sequence[Callable[[str], Any]]
) -> Record:
    values = {}
    for name, cell, read in zip(header, cells, readers, strict=True):
        try:
            values[name] = read(cell) if cell else None
        except (MalformedJson, ValueError):
            return Record(row.line, row.last_line, row.end, None, MALFORMED_JSON, f"/{name}")
    return Record(row.line, row.last_line, row.end, values)


def _json(cell: str) -> Any:
    return strict_json.loads(cell.encode("utf-8", "surrogateescape"))


def _boolean(cell: str) -> Any:
    return _WORDS.get(cell.lower(), cell)


def _text(cell: str) -> str:
    """Take away the apostrophe that keeps spreadsheets from running a cell (see `exporting`)."""
    return cell[1:] if cell[0] == "'" and _ESCAPED.match(cell) else cell


_READERS = {**dict.fromkeys(_JSON_CELLS, _json), "email_verified": _boolean}


def _count(cells: list[str]) -> Any:
    """Return the number of users that an export says it has."""
    count = cells[1] if len(cells) > 1 else ""
    return int(count) if count.isascii() and count.isdigit() and len(count) < 17 else None
