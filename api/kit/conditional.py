"""Entity tags and the preconditions that clients set with them (RFC 9110 section 13)."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from api.kit.problems import MalformedRequest, PreconditionFailed
from schemas.messages import Phrase

MAXIMUM = 1024  # characters of a header
_TAG = r'(W/)?"([!#-~]*)"'
_ANY_TAG = r'(?:W/)?"[!#-~]*"'
# `*`, or a list that may have empty members; read by Python and ECMA-262 alike.
PATTERN = rf"[ \t]*(?:\*|(?:,[ \t]*)*{_ANY_TAG}(?:[ \t]*,(?:[ \t]*{_ANY_TAG})?)*)[ \t]*"


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
    if header is None or (listed := _read(header)) is None:
        return ANY_STATE
    return Precondition(frozenset(tag for weak, tag in listed if not weak))


def none_match(header: str | None, tag: str) -> bool:
    """Tell whether an If-None-Match header leaves the resource, of this tag, to be sent."""
    if header is None:
        return True
    listed = _read(header)
    return listed is not None and tag not in {known for _, known in listed}


def _read(header: str) -> list[tuple[str, str]] | None:
    """Return (`W/` or nothing, tag) of each entity tag that a header lists, or None for `*`."""
    if len(header) > MAXIMUM or not re.fullmatch(PATTERN, header):
        raise MalformedRequest(Phrase("An entity tag in a conditional header is not well-formed."))
    return None if header.strip() == "*" else re.findall(_TAG, header)
