"""Users from the shell."""

import sys

import click

from api.kit import work
from api.kit.commands import AppFactory, fail_with, pass_app
from api.kit.problems import Problem
from api.users import service


@click.group()
def user() -> None:
    """Make and manage users."""


@user.command()
@click.option("--username", required=True, help="A name without spaces or @.")
@click.option("--email", required=True, help="An e-mail address.")
@click.option("--admin", is_flag=True, help="Give the role that may do everything.")
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
)
@pass_app
def create(make_app: AppFactory, username: str, email: str, admin: bool, password_stdin: bool) -> None:
    """Create a user; asks for the password unless it comes by --password-stdin."""
    password = _read_password(password_stdin)
    roles = [service.ADMIN] if admin else []
    try:
        with make_app().app_context(), work.writing():
            created = service.sign_up(username=username, email=email, password=password, roles=roles)
    except Problem as problem:
        fail_with(problem)
    click.echo(f"Created {'the administrator' if admin else 'the user'} {created.username} ({created.id}).")


def _read_password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password
