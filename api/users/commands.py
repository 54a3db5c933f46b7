"""Users from the shell."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import click

from api.kit import work
from api.kit.commands import AppFactory, fail_with, pass_app, utf8
from api.kit.problems import NotFound, Problem
from api.kit.service import setting
from api.kit.validation import load_body
from api.users import service, signing_up, standing
from api.users.erasure import ERASURE_DAYS
from api.users.models import DELETED, SUSPENDED, User
from api.users.roles import every_permission, permissions_of
from schemas.users import SuspensionCreate


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
    with app.app_context(), _writing():
        created = signing_up.sign_up(**identifiers, password=password, as_admin=admin)
    name = created.username or created.email
    click.echo(f"Created {'the administrator' if admin else 'the user'} {name} ({created.id}).")


@user.command()
@click.argument("name", metavar="USER")
@pass_app
def show(make_app: AppFactory, name: str) -> None:
    """Show USER: a username, an e-mail address or an id."""
    with make_app().app_context(), work.reading():
        found = _found(name)
        click.echo(f"{_called(found)}  {found.id}")
        for label, text in _facts(found):
            click.echo(f"  {label:11}{text}")


@user.command()
@click.argument("name", metavar="USER")
@click.option("--reason", required=True, help="Why; administrators see it, the user does not.")
@click.option("--until", help="When it ends by itself, such as 2027-01-31T12:00:00Z; never, unless given.")
@pass_app
def suspend(make_app: AppFactory, name: str, reason: str, until: str | None) -> None:
    """Suspend USER: every session of theirs ends at once, and they cannot sign in."""
    with make_app().app_context(), _writing():
        wanted = load_body(SuspensionCreate(), {"reason": reason, "until": until})
        suspended = standing.suspend(_found(name).id, **wanted, held=every_permission(), by=None)
    click.echo(f"Suspended {_called(suspended)}{_until(suspended.suspended_until)}.")


@user.command()
@click.argument("name", metavar="USER")
@pass_app
def unsuspend(make_app: AppFactory, name: str) -> None:
    """Lift the suspension of USER, who can then sign in again."""
    with make_app().app_context(), _writing():
        found = _found(name)
        if found.status != SUSPENDED:
            raise click.ClickException(f"{_called(found)} is not suspended.")
        standing.lift(found.id, held=every_permission())
    click.echo(f"{_called(found)} can sign in again.")


@user.command()
@click.argument("name", metavar="USER")
@pass_app
def restore(make_app: AppFactory, name: str) -> None:
    """Undo the deletion of USER, as long as they are not erased."""
    with make_app().app_context(), _writing():
        restored = standing.restore(_found(name).id, held=every_permission())
    click.echo(f"{_called(restored)} is back, and {restored.status}.")


@user.command()
@click.argument("name", metavar="USER")
@click.option(
    "--grant", "granted", multiple=True, callback=utf8, metavar="ROLE", help="Give the role; may be repeated."
)
@click.option(
    "--take", "taken", multiple=True, callback=utf8, metavar="ROLE", help="Take the role; may be repeated."
)
@pass_app
def roles(make_app: AppFactory, name: str, granted: tuple[str, ...], taken: tuple[str, ...]) -> None:
    """Show the roles of USER, after giving and taking some: all of those or none."""
    with make_app().app_context(), _writing():
        found = _found(name)
        for role in granted:
            with _known(role):
                standing.grant(found.id, role, held=every_permission())
        for role in taken:
            with _known(role):
                standing.take(found.id, role, held=every_permission())
        click.echo(f"{_called(found)} has {_listed(found.roles, 'no role')}.")


@contextmanager
def _writing() -> Iterator[None]:
    """Write in one unit of work, and end the command in words where it is refused."""
    try:
        with work.writing():
            yield
    except Problem as problem:
        fail_with(problem)


@contextmanager
def _known(role: str) -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise click.ClickException(f"There is no role {role}, or the user is deleted.") from error


def _found(name: str) -> User:
    """Return the user of an identifier or id; ends the command when there is none."""
    try:
        return service.get(UUID(name))
    except (ValueError, NotFound):
        found = service.find(name)
    if found is None:
        raise click.ClickException(f"There is no user {name}.")
    return found


def _called(user: User) -> str:
    return user.username or user.email or str(user.id)


def _facts(user: User) -> Iterator[tuple[str, str]]:
    """Yield what an operator wants to know of a user: labels, and texts."""
    yield "status", _status(user)
    if user.suspension_reason is not None:
        yield "reason", user.suspension_reason
    if user.email is not None:
        yield "e-mail", f"{user.email}, {'confirmed' if user.email_verified else 'not confirmed'}"
    if user.display_name is not None:
        yield "name", user.display_name
    yield "roles", _listed(user.roles, "none")
    yield "may", _listed(sorted(permissions_of(user.roles)), "nothing beyond their own account")
    yield "created", _shown(user.created_at)
    yield "last seen", "never" if user.last_seen_at is None else _shown(user.last_seen_at)


def _status(user: User) -> str:
    if user.status == DELETED and user.deleted_at is not None:
        return f"{DELETED} since {_shown(user.deleted_at)}{_erased(user.deleted_at)}"
    if user.status == SUSPENDED and user.suspended_at is not None:
        return f"{SUSPENDED} since {_shown(user.suspended_at)}{_until(user.suspended_until)}"
    return user.status


def _erased(deleted_at: datetime) -> str:
    try:
        return f", to be erased after {_shown(deleted_at + timedelta(days=setting(ERASURE_DAYS)))}"
    except OverflowError:  # after the year 9999
        return ""


def _until(end: datetime | None) -> str:
    return ", until it is lifted" if end is None else f", until {_shown(end)}"


def _listed(names: list[str], none: str) -> str:
    return ", ".join(names) or none


def _shown(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S UTC")


def _require(identifiers: Mapping[str, str]) -> None:
    """Refuse when an identifier is missing that signing up must give."""
    missing = [f"--{name}" for name in setting(signing_up.IDENTIFIERS) if name not in identifiers]
    if missing:
        raise click.UsageError(f"Missing option {', '.join(missing)}.")


def _read_password(from_stdin: bool) -> str:
    if from_stdin and sys.stdin is not None:
        return sys.stdin.readline().rstrip("\r\n")
    if from_stdin:
        raise click.UsageError("Standard input is closed.")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password
