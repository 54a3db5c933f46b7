"""The outbox from the shell."""

from datetime import datetime
from uuid import UUID

import click

from api.kit import clock
from api.kit.commands import AppFactory, pass_app
from api.kit.outbox import TRIES, retry, waiting


@click.group()
def outbox() -> None:
    """See what is owed to the world, and try again what failed."""


@outbox.command("list")
@click.option("--limit", default=100, show_default=True, help="Show at most so many.")
@pass_app
def list_owed(make_app: AppFactory, limit: int) -> None:
    """List what is owed: first what failed for good, then by when it is tried next."""
    with make_app().app_context():
        found = waiting(limit)
    if not found:
        click.echo("Nothing is owed.")
    for owed in found:
        click.echo(f"{owed.id}  {owed.kind}  {_state(owed.failed_at, owed.due_at, owed.tries)}")
        if owed.error:
            click.echo(f"    {owed.error}")


@outbox.command("retry")
@click.argument("owed_id", metavar="[ID]", type=click.UUID, required=False)
@pass_app
def retry_failed(make_app: AppFactory, owed_id: UUID | None) -> None:
    """Try again at once what failed for good: the thing ID, or all."""
    with make_app().app_context():
        count = retry(owed_id)
    if owed_id is not None and count == 0:
        raise click.ClickException("Nothing of this id failed. See: tessera outbox list")
    click.echo(f"{count} to be tried again.")


def _state(failed_at: datetime | None, due_at: datetime, tries: int) -> str:
    if failed_at is not None:
        return f"failed after {tries} tries"
    seconds = max(0, round((due_at - clock.now()).total_seconds()))
    return f"due in {seconds} s, {tries} of {TRIES} tries made"
