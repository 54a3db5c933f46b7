"""Signing keys from the shell."""

from datetime import datetime

import click

from api.kit import clock
from api.kit.commands import AppFactory, pass_app
from api.sessions import keys


@click.group()
def key() -> None:
    """See, rotate and retire the keys that sign access tokens."""


@key.command("list")
@pass_app
def list_keys(make_app: AppFactory) -> None:
    """List the signing keys, the newest first, and what each does now."""
    with make_app().app_context():
        _show()


@key.command()
@pass_app
def rotate(make_app: AppFactory) -> None:
    """Make a new key: it is published now, and signs once everybody has read it.

    The one before verifies until the last token that it signed has died. Nobody is signed out, and no
    process needs a restart.
    """
    with make_app().app_context():
        keys.rotate()
        _show()


@key.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("kid")  # which may begin with a hyphen
@pass_app
def retire(make_app: AppFactory, kid: str) -> None:
    """End the key KID at once, with every access token that it signed: for a key that leaked.

    Clients get new access tokens by refreshing. If the key is the one that signs, another does from now
    on.
    """
    with make_app().app_context():
        if not keys.retire(kid):
            raise click.ClickException("There is no such key. See: tessera key list")
        click.echo(f"Retired. Within {keys.RELOAD_SECONDS} seconds every process refuses its tokens.")
        _show()


def _show() -> None:
    now = clock.now()
    found = keys.keyring().published()
    signing = keys.signing(found, now)
    for one in found:
        state = "signs" if one is signing else "verifies" if one.signs_from <= now else "is published"
        until = "" if one.retires_at is None else f", until {_shown(one.retires_at)}"
        click.echo(f"{one.kid}  {state}, from {_shown(one.signs_from)}{until}")


def _shown(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S UTC")
