"""Users brought in and written out from the shell."""

import sys
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path
from typing import IO

import click
import orjson
import sqlalchemy as sa

from api.bulk import exporting, service
from api.bulk.models import UserImport
from api.bulk.running import Source
from api.kit import work
from api.kit.commands import AppFactory, pass_app
from api.kit.db import db
from api.users.models import User

REFUSED = 3  # the exit code when rows were refused
INTERRUPTED = 130  # as shells say it
SHOWN = 20  # refusals, at most, where no file is given for them
PIECE = 1 << 20
_formats = click.Choice(["ndjson", "csv"])


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "file_format", type=_formats, help="By default what the name ends with, or ndjson.")
@click.option("--dry-run", is_flag=True, help="Tell what would come of it, and change no user.")
@click.option(
    "--on-conflict",
    type=click.Choice(["refuse", "skip", "update"]),
    default="refuse",
    show_default=True,
    help="What to do with rows of users that there are already.",
)
@click.option("--errors", type=click.File("wb"), help="Write what is wrong with rows here, as NDJSON.")
@pass_app
def import_users(
    make_app: AppFactory,
    file: Path,
    file_format: str | None,
    dry_run: bool,
    on_conflict: str,
    errors: IO[bytes] | None,
) -> None:
    """Bring in users from FILE.

    Whatever stops it, the same command goes on where it stopped: the file is known by its content.
    Ends with 3 when rows were refused, and with 1 when the file is none of users.
    """
    if not file.is_file():
        raise click.UsageError("FILE must be a file: it is read more than once, and a pipe cannot be.")
    choice = service.Choice(file_format or _format_of(file), dry_run, on_conflict)
    with make_app().app_context():
        job = _begun(file, choice)
        try:
            job = _brought_in(job, file)
        except KeyboardInterrupt:
            click.echo("\nStopped. The same command goes on from here.", err=True)
            sys.exit(INTERRUPTED)
        _tell(job, errors)
    if job.error is not None or job.refused:
        sys.exit(1 if job.error is not None else REFUSED)


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--format", "file_format", type=_formats, help="By default what the name ends with, or ndjson.")
@click.option("--no-secrets", is_flag=True, help="Leave out roles and password hashes.")
@pass_app
def export_users(make_app: AppFactory, file: Path, file_format: str | None, no_secrets: bool) -> None:
    """Write all users to FILE, which appears once it is whole; or to a pipe, as they come."""
    from api.bulk.progress import watched  # the other commands start faster without rich

    is_device = file.exists() and not file.is_file()  # a pipe, say: what is written there is gone
    draft = file if is_device else file.with_name(f"{file.name}.part")
    file_format = file_format or _format_of(file)
    rows = 0
    with make_app().app_context(), draft.open("wb") as output:
        service.note_export(file_format, secrets=not no_secrets)
        total = work.read_all(sa.select(sa.func.count()).select_from(User))[0][0]
        with watched("Exporting", total) as watcher:
            for count, part in exporting.parts(file_format, secrets=not no_secrets):
                output.write(part)
                rows += count
                watcher.show(rows, rows)
    if not is_device:
        draft.replace(file)
    click.echo(f"Wrote {rows:,} users to {file}.", err=is_device)


def _begun(file: Path, choice: service.Choice) -> UserImport:
    """Return the import of a file: one that stopped is gone on with."""
    with file.open("rb") as opened:
        digest = file_digest(opened, "sha256").hexdigest()
    with work.writing():
        job = service.resumed(digest, file.stat().st_size, choice)
        db.session.flush()
    if job.position:
        click.echo(f"Going on after line {job.line:,}.", err=True)
    return job


def _brought_in(job: UserImport, file: Path) -> UserImport:
    from api.bulk.progress import watched  # the other commands start faster without rich

    source = _source(file)
    with watched("Importing", job.bytes, job.position, job.rows) as watcher:
        while not service.is_over(job):
            after = service.step(job.id, source)
            if after is None:
                raise click.ClickException("Another process brings in this file.")
            job = after
            watcher.show(job.position, job.rows, job.refused)
    return job


def _source(file: Path) -> Source:
    def read(position: int) -> Iterator[bytes]:
        with file.open("rb") as opened:
            opened.seek(position)
            while piece := opened.read(PIECE):
                yield piece

    return read


def _tell(job: UserImport, errors: IO[bytes] | None) -> None:
    """Say what came of it, and what is wrong with which rows."""
    would = "Would have" if job.dry_run else "Have"
    counts = (
        f"{job.created:,} created, {job.updated:,} updated, {job.skipped:,} skipped, {job.refused:,} refused"
    )
    click.echo(f"{would} of {job.rows:,} rows: {counts}.")
    for number, refusal in enumerate(_refusals(job)):
        if errors is not None:
            errors.write(orjson.dumps(refusal) + b"\n")
        elif number < SHOWN:
            where = f"line {refusal['line']} {refusal['pointer']}".rstrip()
            click.echo(f"  {where}: {refusal['detail']} ({refusal['code']})", err=True)
        else:
            click.echo("  ... and more: all of them with --errors FILE", err=True)
            return


def _refusals(job: UserImport) -> Iterator[dict[str, str | int]]:
    line, number = 0, -1
    while found := service.refusals_after(job.id, line, number):
        for refusal in found:
            yield {name: getattr(refusal, name) for name in ("line", "pointer", "code", "detail")}
        line, number = found[-1].line, found[-1].number


def _format_of(file: Path) -> str:
    return "csv" if file.suffix.lower() == ".csv" else "ndjson"
