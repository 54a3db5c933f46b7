"""The `tessera` command as a user would run it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner
from flask import Flask

from api.cli import main
from tests.support.servers import ROOT


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    output: str
    errors: str

    @property
    def all(self) -> str:
        return self.output + self.errors


def tessera(*arguments: str, environ: Mapping[str, str], stdin: bytes = b"") -> Ended:
    """Run `tessera` with these variables and no others."""
    ended = subprocess.run(
        [sys.executable, "-m", "api", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        input=stdin,
        capture_output=True,
        timeout=30,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def tessera_here(
    *arguments: str, environ: Mapping[str, str], stdin: bytes = b"", app: Flask | None = None
) -> Ended:
    """Run `tessera` in this process: fast, for what ends before it meets a database, or has an app."""
    extra: dict[str, Any] = {} if app is None else {"obj": lambda: app}
    ended = CliRunner().invoke(main, arguments, stdin, environ, prog_name="tessera", **extra)
    escaped = "" if isinstance(ended.exception, SystemExit | None) else f"Traceback: {ended.exception!r}"
    return Ended(ended.exit_code, ended.stdout, ended.stderr + escaped)
