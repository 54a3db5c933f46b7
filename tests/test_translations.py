"""Nothing that people read is left in English by mistake; what `make check` finds."""

from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from tests import translations
from tests.translations import Translated, faults

CODE = """
CODE = Message("code", "Must have at most {maximum} bytes.", maximum=5)
HINT = Phrase("Must be odd.")


class Refused(Problem):
    title = "Refused"
    detail = Phrase(
        "Refused, "
        "for a reason."
    )
    remedy = "Go on."
    other = "Not a text."


raise Refused(computed())
"""
TEXTS = {"Must have at most {maximum} bytes.", "Must be odd.", "Refused", "Refused, for a reason.", "Go on."}
HEADER = 'msgid ""\nmsgstr "Language: ko\\nContent-Type: text/plain; charset=utf-8\\n"\n\n'


@pytest.fixture
def translated(tmp_path: Path) -> Translated:
    """Some code and a Korean catalogue of it, in which nothing is wrong."""
    code, folder = tmp_path / "code", tmp_path / "translations"
    catalogue = folder / "ko" / "LC_MESSAGES" / "messages.po"
    for path, content in (
        (code / "refused.py", CODE),
        (catalogue, HEADER + "".join(f'msgid "{text}"\nmsgstr "번역: {text}"\n\n' for text in sorted(TEXTS))),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(content, encoding="utf-8")
    return Translated((code,), folder)


def change(translated: Translated, old: str, new: str) -> None:
    [path] = translated.catalogues
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("of", translations.ALL)
def test_every_text_is_translated(of: Translated) -> None:
    assert of.catalogues
    assert list(faults(of)) == []


def test_the_texts_of_problems_phrases_and_messages_are_found(translated: Translated) -> None:
    assert {message.id for message in translated.texts() if message.id} == TEXTS
    assert list(faults(translated)) == []


def test_a_text_with_its_values_in_it_is_refused(translated: Translated) -> None:
    (translated.sources[0] / "refused.py").write_text('Phrase(f"Has {LENGTH} bytes.")')
    with pytest.raises(SyntaxError, match="line 1: give the values to a Phrase by name"):
        translated.texts()


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('"번역: Go on."', '""', "'Go on.' is not translated"),
        ('msgid "Go on."\nmsgstr "번역: Go on."\n', "", "'Go on.' is not translated"),
        ('msgid "Go on."', '#, fuzzy\nmsgid "Go on."', "'Go on.' has changed"),
        ('msgid "Go on."', 'msgid "Old."\nmsgstr "옛말"\n\nmsgid "Go on."', "'Old.' is said nowhere"),
        ("번역: Must have at most {maximum}", "번역: {minimum}", "has other values in its translation"),
        ("번역: Must have at most {maximum}", "번역: ", "has other values in its translation"),
        ("번역: Refused,", "번역: {reason}", "has other values in its translation"),
    ],
)
def test_a_fault_in_a_catalogue_is_found(translated: Translated, old: str, new: str, fault: str) -> None:
    change(translated, old, new)
    [found] = faults(translated)
    assert fault in found


def test_a_changed_text_keeps_its_translation_to_be_looked_over(translated: Translated) -> None:
    code = translated.sources[0] / "refused.py"
    code.write_text(CODE.replace("for a reason", "for some reason"), encoding="utf-8")
    [(path, content), (compiled, _)] = translations.current(translated)
    assert compiled.name == "messages.mo"
    path.write_bytes(content)
    with path.open("rb") as file:
        message = read_po(file).get("Refused, for some reason.")
    assert message is not None
    assert (message.string, message.fuzzy) == ("번역: Refused, for a reason.", True)
    [fault] = faults(translated)
    assert "has changed: look its translation over" in fault
