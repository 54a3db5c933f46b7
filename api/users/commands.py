"""Users from the shell."""

import sys
from collections.abc import Mapping
from typing import Any

import click

from api.kit import work
from api.kit.commands import AppFactory, fail_with, pass_app
from api.kit.problems import Problem
from api.kit.service import setting
from api.users import service


@click.group()
def user() -> None:
    """Make and manage users."""


@user.command()
@click.option("--username", help="A name without spaces or @.")
@click.option("--email", help="An e-mail address.")
@click.option("--admin", is_flag=True, help="Give the role that may do everything.")
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
)
@pass_app
def create(
    make_app: AppFactory, username: str | None, email: str | None, admin: bool, password_stdin: bool
) -> None:
    """Create a user; asks for the password unless it comes by --password-stdin."""
    app = make_app()
    given: dict[str, Any] = {"username": username, "email": email}
    identifiers = {name: value for name, value in given.items() if value}
    with app.app_context():
        _require(identifiers)
    password = _read_password(password_stdin)
    roles = [service.ADMIN] if admin else []
    try:
        with app.app_context(), work.writing():
            created = service.sign_up(**identifiers, password=password, roles=roles)
    except Problem as problem:
        fail_with(problem)
    name = created.username or created.email
    click.echo(f"Created {'the administrator' if admin else 'the user'} {name} ({created.id}).")


def _require(identifiers: Mapping[str, str]) -> None:
    """Refuse when an identifier is missing that signing up must give."""
    missing = [f"--{name}" for name in setting(service.IDENTIFIERS) if name not in identifiers]
    if missing:
        raise click.UsageError(f"Missing option {', '.join(missing)}.")


def _read_password(from_stdin: bool) -> str:
    if from_stdin and sys.stdin is not None:
        return sys.stdin.readline().rstrip("\r\n")
    if from_stdin:
        raise click.UsageError("Standard input is closed.")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password
