"""A Babel extraction method: the texts of Python files that `kit/languages.py` says in other languages."""

import ast
from collections.abc import Iterator
from typing import IO, Any

_ATTRIBUTES = {"title", "detail", "remedy"}  # of a Problem
_ARGUMENTS = {"Phrase": 0, "Message": 1}  # where the text is


def extract(
    file: IO[bytes], keywords: Any, comment_tags: Any, options: Any
) -> Iterator[tuple[int, None, str, list[str]]]:
    """Yield (line, None, text, no comments) as Babel takes it.

    Raises SyntaxError for an f-string: once its values are in it, no catalogue has it.
    """
    for node in ast.walk(ast.parse(file.read())):
        for text in _texts(node):
            if isinstance(text, ast.JoinedStr):
                raise SyntaxError(f"{file.name}, line {text.lineno}: give the values to a Phrase by name")
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                yield text.lineno, None, text.value, []


def _texts(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.ClassDef):
        assigned = [line for line in node.body if isinstance(line, ast.Assign)]
        return [line.value for line in assigned if _is_text(line.targets[0])]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ARGUMENTS:
        return node.args[_ARGUMENTS[node.func.id] :][:1]
    return []


def _is_text(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id in _ATTRIBUTES
