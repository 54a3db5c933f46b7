"""The `tessera` command as a user would run it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from click.testing import CliRunner, Result
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


def tessera_here(*arguments: str, environ: Mapping[str, str], stdin: bytes = b"") -> Ended:
    """Run `tessera` in this process: fast, for what ends before it meets a database."""
    return _ended(CliRunner().invoke(main, arguments, stdin, environ, prog_name="tessera"))


def tessera_of(app: Flask, *arguments: str) -> Ended:
    """Run `tessera` in this process on the service of an app."""
    return _ended(CliRunner().invoke(main, arguments, obj=lambda: app, prog_name="tessera"))


def _ended(ended: Result) -> Ended:
    escaped = "" if isinstance(ended.exception, SystemExit | None) else f"Traceback: {ended.exception!r}"
    return Ended(ended.exit_code, ended.stdout, ended.stderr + escaped)
