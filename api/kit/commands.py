"""What commands of features share: the app, and refusals without a traceback."""

from collections.abc import Callable
from typing import NoReturn

import click
from flask import Flask

from api.kit.problems import Problem

AppFactory = Callable[[], Flask]
pass_app = click.pass_obj  # the context's object is an AppFactory: --help needs no app


def fail_with(problem: Problem) -> NoReturn:
    """End the command with what is wrong, in words."""
    lines = [f"{problem.title}."]
    for error in problem.members.get("errors", ()):
        lines.append(f"  {error.get('pointer', '').lstrip('/')}: {error['detail']}")
    raise click.ClickException("\n".join(lines))
