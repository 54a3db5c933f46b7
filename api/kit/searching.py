"""Texts in the form in which they are searched: without case or accents, the same on every database."""

import re
import string
import unicodedata
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

_WORD_START = "  "  # before each word of a stored text: trigrams of it hold the first character alone
_GRAM = 3  # characters
_TELLING = 5  # characters: three trigrams
# Marks that people leave out when they search: accents of Latin, Greek and Cyrillic, the points of Hebrew,
# the vowels and hamzas of Arabic, the numbers of variants. In other scripts a mark makes another letter.
_MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f"
    "\u0670\u06d6-\u06dc\u1ab0-\u1ace\u1dc0-\u1dff\u20d0-\u20f0\ufe00-\ufe0f\ufe20-\ufe2f\U000e0100-\U000e01ef]"
)
# What is not seen: the format characters (Cf) of Unicode 16.
_UNSEEN = re.compile(
    "[\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064"
    "\u2066-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
# Letters with a stroke, which no normalisation takes apart, and joined ones.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "\u0131": "i", "æ": "ae", "œ": "oe"}
)
# PostgreSQL's trigrams leave out what is neither letter nor digit, and LIKE gives some of it a meaning: in
# its place stand letters of Linear A, which nobody can read, let alone is named by.
_STAND_INS = str.maketrans({mark: chr(0x10600 + ord(mark)) for mark in string.punctuation})
_DIGITS = frozenset(string.digits)
_TELLS = _DIGITS.union(_STAND_INS.values())
_TELLING_CLASS = "".join(sorted(_TELLS))
_RUN = re.compile(f"([^{_TELLING_CLASS}]?)([{_TELLING_CLASS}]+)")  # what stands before, and the run


def folded(text: str) -> str:
    """Return a text as who looks for it may write it: without case, accents, width or what is not seen."""
    if text.isascii():
        return text.lower()
    bare = _without_marks(text.casefold())
    if (again := bare.casefold()) != bare:  # there was a letter in a compatibility character
        bare = _without_marks(again)
    return unicodedata.normalize("NFC", _UNSEEN.sub("", bare).translate(_LETTERS))  # with Hangul composed


def _without_marks(text: str) -> str:
    return _MARKS.sub("", unicodedata.normalize("NFKD", text))


def searchable(texts: Iterable[str | None]) -> str:
    """Return what is stored of some texts, to look for a needle in."""
    return "\n".join(_marked(text) for text in texts if text)


def needle(text: str) -> str | None:
    """Return what a stored text has to contain to be found by a text; None when there is nothing to look for.

    Less than three characters are looked for where words begin, more of them anywhere.
    """
    words = _marked(text)
    sought = words.removeprefix(_WORD_START)
    if not sought:
        return None
    return words if len(sought) < _GRAM else sought


def is_worth_an_index(sought: str) -> bool:
    """Tell whether trigrams narrow it down: those of one or two letters next to other words do not."""
    return sought.startswith(_WORD_START) or max(map(len, sought.split())) >= _GRAM


def telling_part(sought: str) -> str:
    """Return the part of a needle that fewest texts are likely to have: of digits and marks, or all of it.

    The trigrams of names are common, and to look one up costs the more, the more common it is. Those of
    one more digit or mark leave a tenth of the texts.
    """
    starts = range(len(sought) - _TELLING + 1)
    best = max(starts, key=lambda start: _told(sought[start : start + _TELLING]), default=0)
    end = best + _TELLING
    part = sought[best : end + 1] if sought[end : end + 1] in _TELLS else sought[best:end]
    return part if _told(part) else sought


def telling_run(sought: str) -> str:
    """Return the most digits, with marks, in a row; of few the character before too, or the telling part."""
    runs: list[tuple[str, str]] = _RUN.findall(sought)
    before, run = max(runs, key=lambda found: sum(map(_DIGITS.__contains__, found[1])), default=("", ""))
    for part in (run, before + run):
        if len(part) >= _TELLING:
            return part
    return telling_part(sought)


def _told(part: str) -> int:
    """Return how many digits and marks its trigrams have, but for those across words."""
    trigrams = (part[start : start + _GRAM] for start in range(len(part) - _GRAM + 1))
    return sum(character in _TELLS for trigram in trigrams if " " not in trigram for character in trigram)


def _marked(text: str) -> str:
    return _WORD_START.join(["", *folded(text).translate(_STAND_INS).split()])


class contains(FunctionElement[bool]):  # noqa: N801  # reads like SQLAlchemy's own functions
    """Whether a column holds a text literally; no index is asked."""

    type = sa.Boolean()
    inherit_cache = True


@compiles(contains, "sqlite")
def _contains_in_sqlite(element: contains, compiler: Any, **kwargs: Any) -> str:
    return f"instr({compiler.process(element.clauses, **kwargs)}) > 0"


@compiles(contains, "postgresql")
def _contains_in_postgresql(element: contains, compiler: Any, **kwargs: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **kwargs)}) > 0"
