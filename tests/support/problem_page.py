"""docs/problems.md: every refusal of Tessera, and the codes of what is wrong with a request."""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from api.kit.operation import Operation
from api.kit.problems import Problem
from api.kit.service import Service
from tests.support.servers import ROOT

FEW = 4  # operations that an exception names
OF_ROWS = ("api/bulk/", "api/kit/foreign_hashes.py", "api/kit/hashing.py")
HEAD = """\
# Problems

Every refusal is `application/problem+json` (RFC 9457). Programs compare its `code`, which never changes;
`title` and `detail` are for people. Its `type` leads to what is said here: `GET /problems/{code}` on the
service itself, and `GET /problems` lists all that it may answer.

This page is made from the code by `make docs`.

"""
ERRORS = """\
## What is wrong with a request

`validation_failed` lists every error: where it is (`pointer` into the body, or `parameter` of the path or
the query), its `code`, and a `detail` for people. `…` stands for what differs.

"""
ROWS = """\
Rows of an import are refused with these codes as well, at `GET /v1/user-imports/{import_id}/errors`:

"""
TABLE = "| code | detail |\n|---|---|\n"


def problem_page(service: Service) -> str:
    """Return the page of a service's problems."""
    kinds = sorted(service.problems.values(), key=lambda kind: (kind.status, kind.code))
    rows = [f"| {kind.status} | [`{kind.code}`](#{kind.code}) | {kind.title} |\n" for kind in kinds]
    index = "| status | code | title |\n|---|---|---|\n" + "".join(rows)
    sections = "\n".join(_section(kind, service.operations) for kind in kinds)
    return f"{HEAD}{index}\n{sections}\n{_error_section()}"


def _section(kind: type[Problem], operations: Mapping[str, Operation]) -> str:
    return (
        f"### `{kind.code}`\n\n**{kind.status}: {kind.title}.** {kind.detail}\n\n"
        f"What to do: {kind.remedy}\n\nAnswered by: {_who_answers(kind, operations)}.\n"
    )


def _who_answers(kind: type[Problem], operations: Mapping[str, Operation]) -> str:
    answering = {name for name, operation in operations.items() if kind.code in operation.refusals()}
    if not answering:
        return "the service itself, whatever the operation"
    conditions: dict[str, Callable[[Operation], bool]] = {
        "every operation": lambda operation: True,
        "every operation that needs an access token": lambda operation: not operation.access.public,
        "every operation with a body": lambda operation: operation.body is not None,
        "every operation that uses the database": lambda operation: operation.database,
    }
    for words, applies in conditions.items():
        group = {name for name, operation in operations.items() if applies(operation)}
        if answering <= group and len(group - answering) <= FEW:
            return words + (f" but {_names(group - answering)}" if answering < group else "")
    return _names(answering)


def _names(operations: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(operations))


def _error_section() -> str:
    paths = sorted(path for folder in ("api", "schemas") for path in (ROOT / folder).rglob("*.py"))
    of_rows = [path for path in paths if path.relative_to(ROOT).as_posix().startswith(OF_ROWS)]
    everywhere = _messages(path for path in paths if path not in of_rows)
    more = {code: texts for code, texts in _messages(of_rows).items() if code not in everywhere}
    return f"{ERRORS}{_error_table(everywhere)}\n{ROWS}{_error_table(more)}"


def _error_table(messages: Mapping[str, set[str]]) -> str:
    rows = [f"| `{code}` | {' · '.join(sorted(texts))} |\n" for code, texts in sorted(messages.items())]
    return TABLE + "".join(rows)


def _messages(paths: Iterable[Path]) -> dict[str, set[str]]:
    """Return what errors say, by code, as some files declare them."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        for code, text in _messages_in(path):
            found[code].add(text)
    return found


def _messages_in(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (code, text) of each error that a file declares."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name("Message"), args=[ast.Constant(str(code)), text, *_]):
                yield from ((code, words) for words in _words(text))
            case ast.keyword(arg="hint", value=text):
                yield from (("invalid_format", words) for words in _words(text))


def _words(text: ast.expr) -> Iterator[str]:
    """Yield the words of a text or a Phrase, with `…` for what is only known when it is said."""
    match text:
        case ast.Constant(str(words)):
            yield re.sub(r"\{\w+\}", "…", words)
        case ast.Call(args=[inner, *_]):
            yield from _words(inner)
