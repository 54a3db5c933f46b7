"""Languages: which one a reader wants, and what texts are in it (gettext catalogues)."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from gettext import GNUTranslations, NullTranslations
from pathlib import Path

from flask import Flask, request
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

import api
from api.kit.current import extensions
from api.kit.problems import Say
from schemas.messages import Phrase

ENGLISH = "en"  # in which every text is written
OWN = Path(api.__file__).parent / "translations"
_LONGEST_HEADER = 1000  # characters; no browser sends so many
_LONGEST_TAG = 35  # characters (RFC 5646 section 4.4.1)


def candidates(tag: str) -> Iterator[str]:
    """Yield a language tag and what it is a kind of, as RFC 4647 section 3.4 looks: ko-kr, ko."""
    tag = tag.lower()
    while tag:
        yield tag
        tag = tag.rpartition("-")[0]


class Languages:
    """English, and the languages that a folder of catalogues has the texts in.

    A catalogue is `LANGUAGE/LC_MESSAGES/messages.mo`. Other folders may join with further texts in
    these languages.
    """

    def __init__(self, folder: Path, joining: Iterable[Path] = ()) -> None:
        self._catalogues: dict[str, NullTranslations] = {ENGLISH: NullTranslations(), **_read(folder)}
        for other in joining:
            for language, catalogue in _read(other).items():
                if language in self._catalogues:
                    self._catalogues[language].add_fallback(catalogue)

    def choose(self, accept_language: str) -> str:
        """Return the best language that is here for an Accept-Language header, or else English."""
        if len(accept_language) <= _LONGEST_HEADER:
            for tag, quality in parse_accept_header(accept_language, LanguageAccept):
                if quality > 0 and len(tag) <= _LONGEST_TAG:
                    for language in candidates(tag):
                        if language in self._catalogues:
                            return language
        return ENGLISH

    def speak(self, language: str) -> Say:
        """Return what says a text in a language, and what nobody translated in English."""
        catalogue = self._catalogues[language]

        def say(text: str) -> str:
            if not isinstance(text, Phrase):
                return catalogue.gettext(text)
            with suppress(AttributeError, LookupError, ValueError):  # of an unfit template
                return str(Phrase(catalogue.gettext(text.template), **text.values))
            return str(text)

        return say


def _read(folder: Path) -> dict[str, GNUTranslations]:
    """Return the catalogues of a folder by language; `pt_BR` is pt-br."""
    catalogues = {}
    for file in folder.glob("*/LC_MESSAGES/messages.mo"):
        with file.open("rb") as content:
            language = file.parents[1].name.lower().replace("_", "-")
            catalogues[language] = GNUTranslations(content)
    return catalogues


def init_languages(app: Flask, joining: Iterable[Path]) -> None:
    """Give the app the languages that it speaks."""
    app.extensions["tessera.languages"] = Languages(OWN, joining)


def languages() -> Languages:
    """Return the languages of the current app."""
    found: Languages = extensions()["tessera.languages"]
    return found


def wanted_language() -> str:
    """Return the language that the current request asks for."""
    return languages().choose(request.headers.get("Accept-Language", ""))
