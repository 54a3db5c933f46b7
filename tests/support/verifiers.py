"""The verifiers of docs/verifying.md, each a process of its own that is asked line by line."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.node import MODULES, node
from tests.support.servers import ROOT

GUIDE = (ROOT / "docs" / "verifying.md").read_text(encoding="utf-8")
ISSUER = "https://id.example.com"  # in the guide's code
LANGUAGES = ("python", "js")
EACH_LANGUAGE = ("python", pytest.param("js", marks=pytest.mark.needs("Node.js")))

# What stands behind the guide's code: one call for each line that comes, one line for what came of it.
ASKED_IN_PYTHON = """
import sys

def remembered():
    return list(revoked)

for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        answer = {"returned": globals()[name](*arguments)}
    except Exception as error:
        answer = {"refused": type(error).__name__}
    print(json.dumps(answer), flush=True)
"""
ASKED_IN_JAVASCRIPT = """
import { createInterface } from "node:readline";

const functions = { verify, follow, forget, remembered: () => [...revoked.keys()] };
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...values] = JSON.parse(line);
  let answer;
  try {
    answer = { returned: (await functions[name](...values)) ?? null };
  } catch (error) {
    answer = { refused: error.code ?? error.name };
  }
  console.log(JSON.stringify(answer));
}
"""


class Refused(Exception):
    """What a verifier raised, by its kind."""


@dataclass
class Verifier:
    """The guide's code in one language, running."""

    language: str
    process: subprocess.Popen[str]

    def verify(self, token: str) -> dict[str, Any]:
        claims: dict[str, Any] = self._call("verify", token)
        return claims

    def follow(self, token: str, since: int = 0) -> int:
        number: int = self._call("follow", token, since)
        return number

    def forget(self) -> None:
        self._call("forget")

    def remembered(self) -> set[str]:
        return set(self._call("remembered"))

    def _call(self, name: str, *arguments: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([name, *arguments]), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        assert line, f"the verifier ended with {self.process.wait(60)}"
        answer = json.loads(line)
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer["returned"]


def blocks(language: str) -> list[str]:
    """Return the guide's code in a language: the verifier, what follows the feed, what forgets."""
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)


def code_lines(block: str) -> list[str]:
    """Return the lines of a block that are neither blank nor a comment."""
    return [line for line in block.splitlines() if line.strip() and not re.match(r"\s*(#|//)", line)]


@contextmanager
def verifying(language: str, issuer: str, folder: Path, key_set_seconds: int = 300) -> Iterator[Verifier]:
    """Start the guide's code for an issuer whose key set may be kept for so long."""
    code = "\n".join(blocks(language)).replace(ISSUER, issuer)
    if language == "python":
        code = code.replace("lifespan=300", f"lifespan={key_set_seconds}") + ASKED_IN_PYTHON
        command = [sys.executable, "-W", "error"]
    else:
        command = [node("jose")]
        code = code.replace("300_000", f"{key_set_seconds}_000") + ASKED_IN_JAVASCRIPT
        (folder / "node_modules").symlink_to(MODULES)
    file = folder / {"python": "verifier.py", "js": "verifier.mjs"}[language]
    file.write_text(code, encoding="utf-8")
    process = subprocess.Popen(
        [*command, str(file)],
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Verifier(language, process)
        finally:
            process.kill()
