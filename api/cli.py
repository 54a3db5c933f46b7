"""The `tessera` command."""

import sys
from typing import Any

import click
from flask import Flask
from sqlalchemy.exc import DBAPIError

from api import __version__, app, diagnosis
from api.kit import migrations, openapi
from api.kit.commands import AppFactory, pass_app
from api.kit.config import DATABASE_URL, HOST, PORT, PUBLIC_URL, THREADS, WORKERS
from api.kit.db import lacks_tables
from api.kit.feature import Feature
from api.kit.service import Service
from api.kit.settings import Settings, SettingsError, environment

WELCOME = """\
Tessera listens on {url}

  Make the first administrator:
    {command} user create --admin --username admin --email admin@example.com

  Sign a person up:
    curl -X POST {url}/v1/users -H 'Content-Type: application/json' \\
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

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise click.ClickException("The settings are not fit:\n  " + "\n  ".join(error.errors)) from error
        except DBAPIError as error:
            if lacks_tables(error):
                raise click.ClickException("The database is not migrated. Run: tessera migrate") from error
            raise click.ClickException(f"The database does not answer: {error.orig}") from error

    def _of_features(self) -> dict[str, click.Command]:
        """Return the commands of the features that are on; none while the settings are unfit."""
        try:
            features = app.choose_features(environment())
        except SettingsError:
            return {}
        return {str(command.name): command for feature in features for command in feature.commands}


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
    from api.kit.server import serve as run  # the other commands start faster without the server

    _, settings = _settings()
    _make_app()  # whatever is wrong is said here, once, and not by each worker
    click.echo(WELCOME.format(url=settings[PUBLIC_URL], command=sys.argv[0]), err=True)
    run(
        "api.server:make_wsgi_app",
        host=settings[HOST],
        port=settings[PORT],
        workers=settings[WORKERS],
        threads=settings[THREADS],
    )


@main.command()
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 when the tables are behind.")
def migrate(check: bool) -> None:
    """Bring the database's tables to what this version expects."""
    import sqlalchemy as sa

    features, settings = _settings()
    url = sa.make_url(settings[DATABASE_URL])
    wanted = migrations.histories(features)
    if not check:
        migrations.upgrade(url, wanted)
    if behind := migrations.behind(sa.create_engine(url), wanted):
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
