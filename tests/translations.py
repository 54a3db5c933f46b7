"""Catalogues: the translations of Tessera's texts, held against the code (`python -m tests.translations`)."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from string import Formatter

from babel.messages import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from tests.support.servers import ROOT


@dataclass(frozen=True)
class Translated:
    """Folders of code whose texts are translated, and the folder of their catalogues."""

    sources: tuple[Path, ...]
    folder: Path

    @property
    def catalogues(self) -> list[Path]:
        return sorted(self.folder.glob("*/LC_MESSAGES/messages.po"))

    def texts(self) -> Catalog:
        """Return a catalogue of what there is to translate."""
        found = Catalog()
        for source in self.sources:
            for file, _, text, _, _ in extract_from_dir(source, [("**.py", "api.kit.extraction:extract")]):
                found.add(text, locations=[(f"{source.name}/{file}", 1)])
        return found


_GREETINGS = ROOT / "tests" / "example_feature" / "tessera_greetings"
ALL = (
    Translated((ROOT / "api", ROOT / "schemas"), ROOT / "api" / "translations"),
    Translated((_GREETINGS,), _GREETINGS / "translations"),
)


def current(translated: Translated) -> Iterator[tuple[Path, bytes]]:
    """Yield every catalogue as it should be: up to date, and compiled."""
    texts = translated.texts()
    for path in translated.catalogues:
        catalogue = _read(path)
        catalogue.update(texts, update_creation_date=False)
        yield path, _written(catalogue)
        compiled = BytesIO()
        write_mo(compiled, catalogue)
        yield path.with_suffix(".mo"), compiled.getvalue()


def _read(path: Path) -> Catalog:
    with path.open("rb") as content:
        return read_po(content, locale=path.parents[1].name)


def _written(catalogue: Catalog) -> bytes:
    written = BytesIO()
    write_po(written, catalogue, width=110, sort_by_file=True, include_lineno=False, ignore_obsolete=True)
    return written.getvalue()


def faults(translated: Translated) -> Iterator[str]:
    """Yield what a reader in another language would miss."""
    texts = {str(message.id) for message in translated.texts() if message.id}
    for path in translated.catalogues:
        known = {str(message.id): message for message in _read(path) if message.id}
        yield from (f"{path}: {text!r} is said nowhere" for text in sorted(known.keys() - texts))
        for text in sorted(texts):
            if fault := _fault(text, known.get(text)):
                yield f"{path}: {text!r} {fault}"


def _fault(text: str, message: Message | None) -> str | None:
    if message is None or not message.string:
        return "is not translated"
    if message.fuzzy:
        return "has changed: look its translation over, and take the word fuzzy away"
    if _names(text) != _names(str(message.string)):
        return "has other values in its translation"
    return None


def _names(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def main() -> int:
    """Say what is wrong with the translations; return 1 if anything is."""
    found = [fault for translated in ALL for fault in faults(translated)]
    for fault in found:
        print(fault)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
