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

from benchmarks.client import MALFORMED, Reply, http_request
from benchmarks.failures import Failed, WrongAnswer
from benchmarks.measuring import ROOT, Server, report, running
from benchmarks.peers.apps.common import PASSWORD, email, username
from benchmarks.population import fill_postgresql, fill_sqlite
from benchmarks.postgresql import STORAGES, Database, own_database
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
    depth_among,
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
    """What clients of Tessera send, and what they get; the deep page comes after `depth` users."""

    def __init__(self, depth: int = DEPTH) -> None:
        self._depth = depth

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
        for begin in range(0, self._depth, 200):
            query["limit"] = min(200, self._depth - begin)
            reply = server.ask(self._page(tokens, **query))
            try:
                query["cursor"] = json.loads(reply.body)["next_cursor"]
            except MALFORMED as error:
                raise WrongAnswer(f"page of users: {reply}") from error
        return self._page(tokens, **query | {"limit": PAGE})

    @staticmethod
    def _page(tokens: Tokens, **query: str | int) -> bytes:
        return http_request("GET", f"/v1/users?{urlencode(query)}", bearer(tokens.access))


class Alone(Tessera):
    """Is asked for one thing only."""

    def __init__(self, workload: str) -> None:
        super().__init__()
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
    """Run a command of Tessera; raises Failed if it fails."""
    without_port = {name: value for name, value in environ.items() if name != "TESSERA_PORT"}
    command = [sys.executable, "-m", "api", *arguments]
    done = subprocess.run(
        command, env=without_port, cwd=ROOT, input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Failed(f"tessera {' '.join(arguments)} failed: {done.stderr}")


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
            raise WrongAnswer(f"sign-up: {reply}")


@contextmanager
def filled(users: int, storages: Sequence[str] = STORAGES) -> Iterator[list[System]]:
    """Yield Tessera on each of these databases that there is, with so many users in it.

    For each there is a second one whose hash accepts every password at once: a sign-in there costs what is
    not the hash. And a third without email confirmation: like the peers it sends no email at a sign-up.
    """
    with ExitStack() as stack:
        found: list[System] = []
        for storage in storages:
            database = stack.enter_context(own_database()) if storage == "PostgreSQL" else None
            if storage == "SQLite" or database is not None:
                folder = Path(stack.enter_context(TemporaryDirectory()))
                found += _filled_on(storage, database, folder, users)
        yield found


def _filled_on(storage: str, database: Database | None, folder: Path, users: int) -> list[System]:
    """Fill a database, and return what can be measured on it."""
    report(f"Tessera, {storage}: inserting users")
    environ = environment(folder, None if database is None else database.url)
    migrate(environ)
    if database is None:
        fill_sqlite(folder / "tessera.db", users)
    else:
        fill_postgresql(database.url, users)
    make_administrator(environ, ADMINISTRATOR)
    with running(SERVE, environ, None, ready="/health/ready") as server:
        sign_up(server, PEOPLE)
    apart = {**environ, "TESSERA_WORKER": "apart"}  # the other one sends the emails
    silent = {**environ, "TESSERA_FEATURES": "-emails"}
    here = partial(System, storage=storage, ready="/health/live", database=database)
    return [
        here(OURS, dialect=Tessera(depth_among(users)), command=SERVE, environ=environ),
        here(HASHLESS, dialect=Alone("sign-in, hash apart"), command=WITHOUT_HASH, environ=apart),
        here(LETTERLESS, dialect=Alone("sign-up, letter apart"), command=SERVE, environ=silent),
    ]
