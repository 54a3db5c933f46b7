"""The audit trail from the shell."""

import re
import sys

import click

from api.audit import chain
from api.kit.commands import AppFactory, pass_app

_HEAD = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")


@click.group()
def audit() -> None:
    """Check the audit trail."""


def _read_head(_context: click.Context, _parameter: click.Parameter, value: str | None) -> chain.Head | None:
    if value is None:
        return None
    match = _HEAD.fullmatch(value)
    if match is None:
        raise click.BadParameter("must be a number, a colon and 64 hexadecimal digits")
    return chain.Head(int(match[1]), bytes.fromhex(match[2]))


@audit.command()
@click.option(
    "--head", "kept", metavar="NUMBER:HASH", callback=_read_head, help="A last seal that was shown before."
)
@pass_app
def verify(make_app: AppFactory, kept: chain.Head | None) -> None:
    """Look for entries that were changed, removed or put in between.

    Shows the last seal. Keep it elsewhere, and give it to --head the next time: then it is noticed as well
    when the end was cut off, or all was written anew.
    """
    with make_app().app_context():
        try:
            with click.progressbar(length=2 * chain.length(), label="Verifying", file=sys.stderr) as bar:
                last, waiting = chain.verify(kept, bar.update)
        except chain.Broken as broken:
            raise click.ClickException(f"The audit trail was tampered with. {broken}") from broken
    click.echo(f"Nothing was changed. Entries that wait for their seal: {waiting}. The last seal:\n{last}")
