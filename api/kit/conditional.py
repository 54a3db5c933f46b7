"""Entity tags and the preconditions that clients set with them (RFC 9110 section 13)."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from api.kit.problems import MalformedRequest, PreconditionFailed
from schemas.messages import Phrase

_TAG = r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"'
_TAGS = re.compile(rf"\s*(?:,\s*)*{_TAG}(?:\s*,(?:\s*{_TAG})?)*\s*")


@dataclass(frozen=True, slots=True)
class Precondition:
    """The state that the client saw: one of `tags`, or with None any."""

    tags: frozenset[str] | None

    def check(self, tag: str) -> None:
        """Raise PreconditionFailed unless the resource, of this tag, is in that state."""
        if self.tags is not None and tag not in self.tags:
            raise PreconditionFailed()


def content_tag(content: Any) -> str:
    """Return the entity tag of something that has no version: a digest of it as JSON."""
    return sha256(orjson.dumps(content)).hexdigest()[:32]


ANY_STATE = Precondition(None)


def read_if_match(header: str | None) -> Precondition:
    """Read an If-Match header: weak tags never match. Raises MalformedRequest."""
    if header is None or header.strip() == "*":
        return ANY_STATE
    return Precondition(frozenset(tag for weak, tag in _read(header) if not weak))


def none_match(header: str | None, tag: str) -> bool:
    """Tell whether an If-None-Match header leaves the resource, of this tag, to be sent."""
    if header is None:
        return True
    if header.strip() == "*":
        return False
    return tag not in {listed for _, listed in _read(header)}


def _read(header: str) -> list[tuple[str, str]]:
    if not _TAGS.fullmatch(header):
        raise MalformedRequest(Phrase("An entity tag in a conditional header is not well-formed."))
    return [(weak, tag) for weak, tag in re.findall(_TAG, header)]
