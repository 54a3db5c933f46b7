"""Tessera as a user would start it, and how it is spoken to."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

from benchmarks.client import Reply, http_request
from benchmarks.measuring import ROOT, Server, report, running
from benchmarks.peers.apps.common import PASSWORD, email, username
from benchmarks.population import fill_postgresql, fill_sqlite
from benchmarks.postgresql import own_database
from benchmarks.systems import (
    ADMINISTRATOR,
    DEPTH,
    HASHLESS,
    LETTERLESS,
    OURS,
    PAGE,
    PEOPLE,
    Dialect,
    System,
    Tokens,
    bearer,
    post,
)

SERVE = ("-m", "api", "serve")
WITHOUT_HASH = (
    "-c",
    "from api.kit.hashing import Argon2id\nArgon2id.verify = lambda *_: True\n"
    "from api.cli import main; main(['serve'])",
)
WIDE = "100000000 per minute"  # limits that count, and stop nobody


class Tessera(Dialect):
    """What clients of Tessera send, and what they get."""

    offers = Dialect.offers | {"liveness", "unchanged profile", "garbage token"}
    profile_path = "/v1/users/me"

    def sign_in(self, number: int) -> bytes:
        return post("/v1/sessions", {"identifier": username(number), "password": PASSWORD})

    def tokens(self, reply: Reply) -> Tokens:
        found = json.loads(reply.body)
        return Tokens(found["access_token"], found["refresh_token"])

    def refresh(self, tokens: Tokens) -> bytes:
        return post("/v1/sessions/refresh", {"refresh_token": tokens.refresh})

    def sign_up(self, name: str) -> bytes:
        details = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        return post("/v1/users", details)

    def first_page(self, tokens: Tokens) -> bytes:
        return self._page(tokens, limit=PAGE)

    def deep_page(self, tokens: Tokens, server: Server) -> bytes:
        """Return the request for the deep page: to its cursor lead the pages before it."""
        query: dict[str, str | int] = {"limit": 200}
        for _ in range(0, DEPTH, 200):
            reply = server.ask(self._page(tokens, **query))
            query["cursor"] = json.loads(reply.body)["next_cursor"]
        return self._page(tokens, **query | {"limit": PAGE})

    @staticmethod
    def _page(tokens: Tokens, **query: str | int) -> bytes:
        return http_request("GET", f"/v1/users?{urlencode(query)}", bearer(tokens.access))


class Alone(Tessera):
    """Is asked for one thing only."""

    def __init__(self, workload: str) -> None:
        self.offers = frozenset({workload})


TESSERA = Tessera()


def environment(folder: Path, database_url: str | None = None) -> dict[str, str]:
    """Return the variables of a service in production; without a URL it is on SQLite in `folder`."""
    variables = {
        "PATH": os.environ["PATH"],
        "TESSERA_ENV": "production",
        "TESSERA_SECRET_KEY": "9f2c4e7a1b8d3f605a7c9e1d2b4f6a8c0e3d5b7f",
        "TESSERA_PUBLIC_URL": "https://id.example.com",
        "TESSERA_MAIL_URL": f"file:{folder / 'mail'}",
        "TESSERA_DATA_DIR": str(folder),
        **dict.fromkeys(("TESSERA_REQUEST_LIMIT", "TESSERA_PASSWORD_LIMIT", "TESSERA_SIGN_UP_LIMIT"), WIDE),
        "TESSERA_REFRESH_LIMIT": WIDE,
        "TESSERA_PORT": "{port}",
    }
    return variables if database_url is None else variables | {"TESSERA_DATABASE_URL": database_url}


def migrate(environ: Mapping[str, str]) -> None:
    """Bring the database's tables up to date."""
    _run(environ, "migrate")


def make_administrator(environ: Mapping[str, str], number: int) -> None:
    """Make a user who may do everything."""
    identifiers = ("--username", username(number), "--email", email(number))
    _run(environ, "user", "create", "--admin", "--password-stdin", *identifiers, stdin=PASSWORD)


def _run(environ: Mapping[str, str], *arguments: str, stdin: str = "") -> None:
    """Run a command of Tessera; ends the run when it fails."""
    without_port = {name: value for name, value in environ.items() if name != "TESSERA_PORT"}
    command = [sys.executable, "-m", "api", *arguments]
    done = subprocess.run(
        command, env=without_port, cwd=ROOT, input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"tessera {' '.join(arguments)} failed: {done.stderr}")


def started(
    environ: Mapping[str, str], core: int, command: Sequence[str] = SERVE
) -> AbstractContextManager[Server]:
    """Migrate the database, and serve pinned on a core."""
    migrate(environ)
    return running(command, environ, core, ready="/health/ready")


def sign_up(server: Server, numbers: Iterable[int]) -> None:
    """Let people sign up."""
    for number in numbers:
        reply = server.ask(TESSERA.sign_up(username(number)))
        if not TESSERA.is_signed_up(reply, username(number)):
            sys.exit(f"signing up was answered {reply}")


@contextmanager
def filled(users: int) -> Iterator[list[System]]:
    """Yield Tessera on each database that there is, with so many users in it.

    Of each there is a second one whose hash says yes at once: to sign in there costs what is not the hash.
    And a third that has no addresses confirmed: like the peers it sends nobody a letter who signs up.
    """
    with ExitStack() as stack:
        found: list[System] = []
        for database in (None, stack.enter_context(own_database())):
            if database is None and found:
                break  # no PostgreSQL answers
            folder = Path(stack.enter_context(TemporaryDirectory()))
            storage = "SQLite" if database is None else "PostgreSQL"
            report(f"Tessera, {storage}: filling")
            environ = environment(folder, None if database is None else database.url)
            migrate(environ)
            if database is None:
                fill_sqlite(folder / "tessera.db", users)
            else:
                fill_postgresql(database.url, users)
            make_administrator(environ, ADMINISTRATOR)
            with running(SERVE, environ, None, ready="/health/ready") as server:
                sign_up(server, PEOPLE)
            apart = {**environ, "TESSERA_WORKER": "apart"}  # the letters are the other one's to send
            silent = {**environ, "TESSERA_FEATURES": "-emails"}
            here = partial(System, storage=storage, ready="/health/live", database=database)
            found += [
                here(OURS, dialect=TESSERA, command=SERVE, environ=environ),
                here(HASHLESS, dialect=Alone("sign-in, hash apart"), command=WITHOUT_HASH, environ=apart),
                here(LETTERLESS, dialect=Alone("sign-up, letter apart"), command=SERVE, environ=silent),
            ]
        yield found
