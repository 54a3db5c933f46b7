"""Which texts look alike: the skeletons of UTS 39, by the data of the Unicode Consortium."""

import json
import re
import unicodedata
from functools import cache
from importlib.resources import files

_UNSEEN_DOTS = re.compile("(?<=[ij])\u0307+")  # on letters that have one already
_JOINERS = (0x200C, 0x200D)
_PALOCHKA = 0x04CF  # is drawn as an l; UTS 39 takes it for an i


def skeleton(text: str) -> str:
    """Return what a text is taken for at a glance: two of one skeleton look alike.

    Every character that looks like ASCII becomes that, as it is shown or else in lower case, whatever its
    width. Others stay, and ASCII is lower-cased alone: to take `1` for `l`, `0` for `o` or `rn` for `m`
    would refuse honest names (docs/adr/0012-look-alike-usernames.md).
    """
    if text.isascii():
        return text.lower()
    shown = unicodedata.normalize("NFKD", text).translate(_look_alikes())
    lowered = shown.lower().translate(_look_alikes())
    return unicodedata.normalize("NFC", _UNSEEN_DOTS.sub("", lowered))


@cache
def _look_alikes() -> dict[int, str | None]:
    """Return what looks like ASCII, with the ASCII that it looks like; None for what is not seen.

    Read as a file: the package's module would keep 6 MB for good.
    """
    path = files("confusable_homoglyphs").joinpath("confusables.json")
    pairs = (
        (character, other["c"])
        for character, others in json.loads(path.read_bytes()).items()
        for other in others
        if len(character) == 1 and not character.isascii() and other["c"].isascii()
    )
    seen = {ord(character): _meant(character, ascii_text) for character, ascii_text in pairs}
    return {**seen, **dict.fromkeys(_JOINERS), _PALOCHKA: "l"}


def _meant(character: str, ascii_text: str) -> str:
    """Return the ASCII that a character looks like in lower case: the data has `l` for a capital I too."""
    return (ascii_text.replace("l", "I") if character.isupper() else ascii_text).lower()
