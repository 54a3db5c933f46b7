"""Users listed from the shell."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from api.kit.commands import AppFactory, pass_app, utf8
from api.kit.http import encoded
from api.users import listing
from schemas.users import SEARCH_MAXIMUM, UserAnswer

_PAGE = 200  # users that are in memory at once
_TABLE = "{created_at:%Y-%m-%d}  {status:<9}  {id}  {username:<20}  {email:<30}  {display_name}"


@click.command("list")
@click.option(
    "--q", callback=lambda *given: _bounded(utf8(*given)), help="Part of username, address or display name."
)
@click.option("--status", type=click.Choice(["active", "suspended", "deleted"]))
@click.option("--email", callback=utf8, help="The whole address.")
@click.option("--username", callback=utf8, help="The whole name.")
@click.option(
    "--verified/--unverified", "email_verified", default=None, help="Whether the address is theirs."
)
@click.option("--oldest-first", is_flag=True, help="The newest come first otherwise.")
@click.option("--limit", type=click.IntRange(1), help="At most so many; all without it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, as the API gives them.")
@pass_app
def list_users(
    make_app: AppFactory, /, oldest_first: bool, limit: int | None, as_json: bool, **asked: Any
) -> None:
    """List users; however many there are, few are in memory at once."""
    filters = {name: value for name, value in asked.items() if value is not None}
    write = _as_json if as_json else _as_line
    with make_app().app_context():
        for found in _walk("created_at" if oldest_first else "-created_at", limit, filters):
            click.echo(write(found))


def _bounded(q: str | None) -> str | None:
    if q is not None and len(q) > SEARCH_MAXIMUM:
        raise click.BadParameter(f"Must have at most {SEARCH_MAXIMUM}.")
    return q


def _walk(sort: str, limit: int | None, filters: Mapping[str, Any]) -> Iterator[Any]:
    """Yield users, a page at a time."""
    cursor, left = None, limit
    while left is None or left > 0:
        most = _PAGE if left is None else min(left, _PAGE)
        page = listing.list_page(limit=most, cursor=cursor, sort=sort, count="none", **filters)
        yield from page.items
        cursor, left = page.next_cursor, None if left is None else left - len(page.items)
        if cursor is None:
            return


def _as_json(user: Any) -> bytes:
    return encoded(UserAnswer().dump(user))


def _as_line(user: Any) -> str:
    shown = {name: _printable(getattr(user, name)) for name in ("username", "email", "display_name")}
    return _TABLE.format(id=user.id, status=user.status, created_at=user.created_at, **shown).rstrip()


def _printable(text: str | None) -> str:
    """Return a text without what would move the cursor of a terminal; a dash for none."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text or "-")
