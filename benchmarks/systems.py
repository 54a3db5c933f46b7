"""What is measured, Tessera and its peers alike: how a system is started, and how it is spoken to."""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import MALFORMED, Reply, http_request
from benchmarks.failures import WrongAnswer
from benchmarks.measuring import ROOT, Server, running
from benchmarks.peers.apps.common import email
from benchmarks.postgresql import Database

OURS, BARE = "Tessera", "Flask on Tessera's server"
HASHLESS, LETTERLESS = "Tessera without its hash", "Tessera without its letters"
PAGE = 50  # users on a page
DEPTH = 50_000  # users before the deep page
ADMINISTRATOR = 1  # the number of a user who may list users
PEOPLE = range(2, 66)  # the numbers of those who sign in


def depth_among(users: int) -> int:
    """Return how many of so many users come before the deep page."""
    return min(DEPTH, users // 2)


@dataclass(frozen=True)
class Tokens:
    """What a person who signs in gets."""

    access: str
    refresh: str = ""


def bearer(token: str) -> dict[str, str]:
    """Return the header that presents a token."""
    return {"Authorization": f"Bearer {token}"}


def post(path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> bytes:
    """Return a request with a body of JSON."""
    return http_request("POST", path, headers, json.dumps(body).encode())


class Dialect:
    """How a system is asked for the same work as all others, and what a right answer is.

    It can do what `offers` names (see workloads.py). `profile_path` is the path of one's own profile.
    """

    offers: frozenset[str] = frozenset(
        {"own profile", "forged token", "refresh", "sign-in", "sign-up", "first page", "deep page"}
    )
    profile_path = ""

    def presenting(self, token: str) -> dict[str, str]:
        """Return the headers that present an access token."""
        return bearer(token)

    def profile(self, token: str) -> bytes:
        return http_request("GET", self.profile_path, self.presenting(token))

    def is_profile(self, reply: Reply, number: int) -> bool:
        return reply.status == 200 and email(number).encode() in reply.body

    def is_refusal(self, reply: Reply) -> bool:
        return reply.status == 401

    def sign_in(self, number: int) -> bytes:
        raise NotImplementedError

    def tokens(self, reply: Reply) -> Tokens:
        """Return what an answer to a sign-in holds; raises ValueError or LookupError without tokens."""
        raise NotImplementedError

    def refresh(self, tokens: Tokens) -> bytes:
        raise NotImplementedError

    def refreshed(self, reply: Reply, before: Tokens) -> Tokens:
        """Return what an answer to a refresh holds; raises ValueError or LookupError unless it is new."""
        found = self.tokens(reply)
        if found.refresh in ("", before.refresh):
            raise ValueError("no new refresh token")
        return found

    def sign_up(self, name: str) -> bytes:
        raise NotImplementedError

    def is_signed_up(self, reply: Reply, name: str) -> bool:
        return reply.status in (200, 201) and name.encode() in reply.body

    def first_page(self, tokens: Tokens) -> bytes:
        raise NotImplementedError

    def deep_page(self, tokens: Tokens, server: Server) -> bytes:
        raise NotImplementedError

    def is_page(self, reply: Reply) -> bool:
        return reply.status == 200 and reply.body.count(b'"email":') == PAGE


@dataclass(frozen=True, eq=False)
class System:
    """Something to measure: on SQLite, on PostgreSQL, or on no database.

    It has started when `ready` is answered; `hash` is how it hashes passwords, if it has any.
    """

    name: str
    storage: str
    dialect: Dialect
    command: Sequence[str]
    environ: Mapping[str, str]
    ready: str
    database: Database | None = None
    program: str = sys.executable
    folder: Path = ROOT
    hash: str = "argon2id"

    def __str__(self) -> str:
        return f"{self.name}, {self.storage}" if self.storage else self.name

    @property
    def is_ours(self) -> bool:
        """Whether it is Tessera, or the bare route on Tessera's server."""
        return self.name in (OURS, BARE, HASHLESS, LETTERLESS)

    def started(self, core: int | None, **environ: str) -> AbstractContextManager[Server]:
        """Serve on a core, or on all; `environ` has further variables."""
        return running(
            self.command,
            {**self.environ, **environ},
            core,
            ready=self.ready,
            program=self.program,
            folder=self.folder,
        )


def sign_in(server: Server, dialect: Dialect, number: int) -> Tokens:
    """Return the tokens of one who signs in; raises WrongAnswer, or OSError without an answer."""
    reply = server.ask(dialect.sign_in(number))
    try:
        return dialect.tokens(reply)
    except MALFORMED as error:
        raise WrongAnswer(f"sign-in: {reply}") from error
