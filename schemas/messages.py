"""Texts for people that can be said in other languages."""

from typing import Self


class Phrase(str):
    """A text that keeps the template and the values it is made of, so that it can be translated.

    A text without values stands as it is, braces and all.
    """

    template: str
    values: dict[str, object]

    def __new__(cls, text: str, **values: object) -> Self:
        template = text
        if isinstance(text, Phrase):
            template, values = text.template, text.values | values
        phrase = super().__new__(cls, template.format(**values) if values else template)
        phrase.template, phrase.values = template, values
        return phrase


class Message(Phrase):
    """What is wrong, for people, with a `code` for programs; it stays one when formatted."""

    code: str

    def __new__(cls, code: str, text: str, **values: object) -> Self:
        message = super().__new__(cls, text, **values)
        message.code = code
        return message

    @classmethod
    def of(cls, text: str) -> "Message":
        """Return a text as a message; one that marshmallow made itself is `invalid`."""
        return text if isinstance(text, Message) else cls("invalid", text)

    def format(self, *_: object, **values: object) -> "Message":
        return Message(self.code, self, **values)
