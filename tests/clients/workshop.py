"""Generates the clients of docs/clients.md by the guide's own commands, checks their types, and runs them."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tests.support.guides import blocks_of
from tests.support.node import MODULES, node
from tests.support.servers import ROOT

HERE = Path(__file__).parent
GUIDE = ROOT / "docs" / "clients.md"
FETCHED, PYTHON, TYPESCRIPT = range(3)  # the guide's shell blocks
PACKAGES = ("openapi-fetch", "openapi-typescript", "typescript", "@types/node")


@dataclass(frozen=True)
class Workshop:
    """A folder in which a client is generated, checked and run."""

    folder: Path
    block: ClassVar[int]

    def generate(self, document: str) -> None:
        """Make the client of a document."""
        (self.folder / "openapi.yaml").write_text(document, encoding="utf-8")
        generated = self._do(["bash", "-euc", blocks_of(GUIDE)[self.block]])
        assert generated.returncode == 0, generated.stdout

    def check(self) -> subprocess.CompletedProcess[str]:
        """Check the types of what uses the client."""
        raise NotImplementedError

    def command(self, script: str, *arguments: str) -> list[str]:
        """Return the command that runs a script of this folder with the client."""
        raise NotImplementedError

    def run(self, script: str, *arguments: str) -> Any:
        """Run a script that asks for nothing, and return what it wrote."""
        done = self._do(self.command(script, *arguments), stderr=None)
        assert done.returncode == 0, done.stdout
        return json.loads(done.stdout)

    @property
    def environ(self) -> dict[str, str]:
        binaries = Path(sys.executable).parent
        return {"PATH": f"{binaries}:{os.environ['PATH']}", "HOME": str(self.folder)}

    def _do(
        self, command: Sequence[str], stderr: int | None = subprocess.STDOUT
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            timeout=300,
            check=False,
        )


class PythonWorkshop(Workshop):
    """openapi-python-client, and mypy."""

    block = PYTHON

    def check(self) -> subprocess.CompletedProcess[str]:
        shutil.copy(HERE / "journey.py", self.folder)
        options = ("--strict", "--follow-imports=silent", "--config-file=", "--cache-dir=/dev/null")
        return self._do([sys.executable, "-m", "mypy", *options, "journey.py"])

    def command(self, script: str, *arguments: str) -> list[str]:
        return [sys.executable, "-W", "error", f"{script}.py", *arguments]


class TypeScriptWorkshop(Workshop):
    """openapi-typescript and openapi-fetch, and the compiler, which makes what node runs."""

    block = TYPESCRIPT

    def check(self) -> subprocess.CompletedProcess[str]:
        for path in [*HERE.glob("*.ts"), HERE / "tsconfig.json"]:
            shutil.copy(path, self.folder)
        (self.folder / "package.json").write_text('{"type": "module"}')
        return self._do([node(*PACKAGES), str(MODULES / "typescript" / "bin" / "tsc")])

    def command(self, script: str, *arguments: str) -> list[str]:
        return [node(*PACKAGES), f"{script}.js", *arguments]

    def generate(self, document: str) -> None:
        node(*PACKAGES)
        (self.folder / "node_modules").symlink_to(MODULES)
        super().generate(document)


WORKSHOPS: dict[str, type[Workshop]] = {"python": PythonWorkshop, "typescript": TypeScriptWorkshop}


def code_blocks(language: str) -> list[str]:
    """Return the guide's code in a language."""
    text = GUIDE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
