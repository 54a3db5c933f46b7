"""Tessera as a user would start it, and the people who call it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT, Reply, Server, http_request, running

SERVE = ("-m", "api", "serve")
PASSWORD = "correct horse battery staple"
WIDE = "100000000 per minute"  # limits that count, and stop nobody


@dataclass(frozen=True)
class Person:
    """Somebody with an account."""

    id: str
    username: str

    @property
    def credentials(self) -> bytes:
        """What signing in sends."""
        return json.dumps({"identifier": self.username, "password": PASSWORD}).encode()


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
    command = [sys.executable, "-m", "api", "migrate"]
    without_port = {name: value for name, value in environ.items() if name != "TESSERA_PORT"}
    done = subprocess.run(command, env=without_port, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"tessera migrate failed: {done.stderr}")


def started(
    environ: Mapping[str, str], core: int, command: Sequence[str] = SERVE
) -> AbstractContextManager[Server]:
    """Migrate the database, and serve pinned on a core."""
    migrate(environ)
    return running(command, environ, core, ready="/health/ready")


def sign_up(server: Server, count: int) -> list[Person]:
    """Return new people with accounts."""
    return [_sign_up(server, f"person-{number}") for number in range(count)]


def _sign_up(server: Server, username: str) -> Person:
    details = {"username": username, "email": f"{username}@example.com", "password": PASSWORD}
    answer = _post(server, "/v1/users", json.dumps(details).encode(), 201)
    return Person(answer["id"], username)


def sign_in(server: Server, person: Person) -> dict[str, Any]:
    """Return what signing in answers: the tokens, the session and the user."""
    return _post(server, "/v1/sessions", person.credentials, 201)


def _post(server: Server, path: str, body: bytes, status: int) -> dict[str, Any]:
    reply = server.call("POST", path, body, {"Content-Type": "application/json"})
    if reply.status != status:
        sys.exit(f"POST {path} was answered {reply.status}: {reply.body!r}")
    answer: dict[str, Any] = json.loads(reply.body)
    return answer


def bearer(token: str) -> dict[str, str]:
    """Return the header that presents a token."""
    return {"Authorization": f"Bearer {token}"}


class Rotation:
    """Exchanges a refresh token, then the one that it got, and so on."""

    def __init__(self, person: Person, refresh_token: str) -> None:
        self._person = person
        self._token = refresh_token

    def request(self) -> bytes:
        body = json.dumps({"refresh_token": self._token}).encode()
        return http_request("POST", "/v1/sessions/refresh", body=body)

    def is_right(self, reply: Reply) -> bool:
        if reply.status != 200:
            return False
        answer = json.loads(reply.body)
        before, self._token = self._token, answer["refresh_token"]
        return before != self._token and answer["user"]["id"] == self._person.id


class SignIn:
    """Signs the same person in again and again."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._request = http_request("POST", "/v1/sessions", body=person.credentials)

    def request(self) -> bytes:
        return self._request

    def is_right(self, reply: Reply) -> bool:
        return reply.status == 201 and json.loads(reply.body)["user"]["id"] == self._person.id
