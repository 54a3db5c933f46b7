"""The `tessera` command."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import DBAPIError

from api import __version__, app, diagnosis
from api.kit import limits, migrations, openapi
from api.kit.commands import AppFactory, grouped, pass_app
from api.kit.config import DATABASE_URL, HOST, PORT, THREADS, WORKERS
from api.kit.cors import Cors
from api.kit.db import lacks_tables
from api.kit.feature import Feature
from api.kit.logs import configure_logs, open_stderr
from api.kit.outbox import Courier
from api.kit.service import Service
from api.kit.settings import Settings, SettingsError, environment
from api.kit.signals import STOPPING, ignore_stop_signals

WELCOME = """\
Tessera listens on http://{address}

  Make the first administrator, with the same TESSERA_ settings:
    {command} user create --admin --username admin --email admin@example.com

  Sign a person up:
    curl -X POST http://{address}/v1/users -H 'Content-Type: application/json' \\
      -d '{{"username": "mina", "email": "mina@example.com", "password": "correct horse battery"}}'
"""


def _make_app() -> Flask:
    return app.create_app()


class _Group(click.Group):
    """Finds the commands of features, and ends without a traceback for what a user can mend."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self._of_features()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or self._of_features().get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        with _in_words():
            app.choose_features(environment())  # else a command of a feature seems not to exist
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        open_stderr()
        os.umask(0o077)  # the database and its keys are nobody else's to read
        with _in_words():
            return super().invoke(ctx)

    def _of_features(self) -> dict[str, click.Command]:
        """Return the commands of the features that are on; none while the settings are unfit."""
        try:
            features = app.choose_features(environment())
        except SettingsError:
            return {}
        return grouped(command for feature in features for command in feature.commands)


@contextmanager
def _in_words() -> Iterator[None]:
    """End the command with a sentence, and no traceback, for what its user can mend."""
    try:
        yield
    except SettingsError as error:
        raise click.ClickException("The settings are not fit:\n  " + "\n  ".join(error.errors)) from error
    except DBAPIError as error:
        if lacks_tables(error):
            raise click.ClickException("The database is not migrated. Run: tessera migrate") from error
        raise click.ClickException(f"The database does not answer: {error.orig}") from error
    except migrations.MigrationError as error:
        raise click.ClickException(f"The migrations do not fit the database: {error}") from error
    except BrokenPipeError:
        raise  # who reads our output has enough: click ends without a word
    except OSError as error:
        raise click.ClickException(f"{error.strerror}: {error.filename}") from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "obj": _make_app})
@click.version_option(__version__, prog_name="tessera")
def main() -> None:
    """User accounts and token login as a REST-only JSON API.

    Settings come from TESSERA_... environment variables: see `tessera config`.
    """


def _settings() -> tuple[list[Feature], Settings]:
    features = app.choose_features(environment())
    return features, app.read_settings(features, environment())


@main.command()
def serve() -> None:
    """Serve the API until told to stop (SIGINT or SIGTERM)."""
    from api.kit import server  # the other commands start faster without it
    from api.server import application

    features, settings = _settings()
    address, port = _claimed(settings)
    application()  # whatever is wrong is said here, once, and not by each process
    for name in settings.unknown:
        click.echo(f"{name} is set, but no such setting is known.", err=True)
    for sentence in limits.explain(settings):
        click.echo(sentence.text, err=True)
    if migrations.behind_at(sa.make_url(settings[DATABASE_URL]), migrations.histories(features)):
        click.echo("The database is not migrated, so little will work. Run: tessera migrate", err=True)
    shown = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    with suppress(OSError):  # a full disk behind the standard error is no reason not to serve
        click.echo(WELCOME.format(address=shown, command=_command()), err=True)
    server.serve(
        "api.server:make_wsgi_app",
        host=address,
        port=port,
        workers=settings[WORKERS],
        threads=settings[THREADS],
        cors=Cors.of(settings),
    )


def _claimed(settings: Settings) -> tuple[str, int]:
    """Return the address and port to listen on, once it is clear that they can be had."""
    from api.kit import server

    host, port = settings[HOST], settings[PORT]
    try:
        return server.claim(host, port), port
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "that is no host"
        raise click.ClickException(f"Cannot listen on {host}, port {port}: {reason}") from error


def _command() -> str:
    """Return what the user typed to get here."""
    return "python -m api" if sys.argv[0].endswith("__main__.py") else sys.argv[0]


@main.command()
@pass_app
def worker(make_app: AppFactory) -> None:
    """Deliver what is owed to the world until told to stop; for TESSERA_WORKER=apart."""
    configure_logs()
    made = make_app()
    courier: Courier = made.extensions["tessera.courier"]
    for number in STOPPING:
        signal.signal(number, lambda *_: courier.stop())
    click.echo(f"Delivering: {', '.join(courier.kinds) or 'nothing'}.", err=True)
    courier.run()
    ignore_stop_signals()


@main.command()
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 when the tables are behind.")
def migrate(check: bool) -> None:
    """Bring the database's tables to what this version expects."""
    features, settings = _settings()
    url = sa.make_url(settings[DATABASE_URL])
    wanted = migrations.histories(features)
    if not check:
        migrations.upgrade(url, wanted)
    if behind := migrations.behind_at(url, wanted):
        raise click.ClickException(f"The database is behind: {', '.join(behind)}. Run: tessera migrate")
    click.echo("The database is up to date.")


@main.command()
def features() -> None:
    """List the features, and which of them are on."""
    on = {feature.name for feature in app.choose_features(environment())}
    found = app.all_features()
    width = max(map(len, found))
    for name, feature in found.items():
        click.echo(f"{'on ' if name in on else 'off'}  {name:{width}}  {feature.summary}")


@main.command()
def config() -> None:
    """Show every setting: its value (secrets hidden), where it is from, and what it means."""
    _, settings = _settings()
    for declared in settings.declared:
        source = settings.source(declared)
        value = "(hidden)" if declared.secret and source else settings.show(declared)
        click.echo(f"{declared.variable} = {value}    [{source or 'default'}]\n    {declared.help}")
    for name in settings.unknown:
        click.echo(f"{name} is set, but no such setting is known.", err=True)


@main.command("openapi")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of YAML.")
@pass_app
def print_openapi(make_app: AppFactory, as_json: bool) -> None:
    """Print the OpenAPI document of the features that are on."""
    made = make_app()
    service: Service = made.extensions["tessera"]
    document = openapi.document(service)
    click.echo(made.json.dumps(document) if as_json else openapi.as_yaml(document), nl=as_json)


@main.command()
def doctor() -> None:
    """Look for what is wrong with the set-up, and say how to mend it."""
    findings = list(diagnosis.examine())
    for finding in findings:
        click.echo(f"{finding.mark}  {finding.text}")
    if any(finding.is_fault for finding in findings):
        sys.exit(1)
