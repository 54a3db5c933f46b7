"""What commands of features share: the app, and refusals without a traceback."""

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import click
from flask import Flask

from api.kit.problems import Problem, ValidationFailed

AppFactory = Callable[[], Flask]
pass_app = click.pass_obj  # the context's object is an AppFactory: --help needs no app


def fail_with(problem: Problem) -> NoReturn:
    """End the command with what is wrong, in words."""
    lines = [f"{problem.title}."]
    if isinstance(problem, ValidationFailed):
        lines += [f"  {(error.pointer or '').lstrip('/')}: {error.message}" for error in problem.errors]
    raise click.ClickException("\n".join(lines))


def utf8(_context: click.Context, _option: click.Parameter, value: Any) -> Any:
    """Refuse, as the callback of an option, what is no UTF-8: no user and no role is called so."""
    try:
        "".join(value or ()).encode()
    except UnicodeEncodeError:
        raise click.BadParameter("Must be UTF-8.") from None
    return value


def joining(group: str, *commands: click.Command) -> click.Group:
    """Return commands that join a group of another feature, such as `tessera user`."""
    return click.Group(group, commands={str(command.name): command for command in commands})


def grouped(commands: Iterable[click.Command]) -> dict[str, click.Command]:
    """Return commands by name; groups of one name are one, with the help of the first that has any."""
    found: dict[str, click.Command] = {}
    for command in commands:
        name = str(command.name)
        before = found.get(name)
        if isinstance(before, click.Group) and isinstance(command, click.Group):
            both = {**before.commands, **command.commands}
            command = click.Group(name, help=before.help or command.help, commands=both)
        found[name] = command
    return found
