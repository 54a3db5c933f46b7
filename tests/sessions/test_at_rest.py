"""What is left on disk: no token, no password and no private key, in the database or in the log."""

import base64
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from flask import Flask

from api.kit.db import db
from tests.support.clients import PASSWORD, new_details
from tests.support.databases import read_apart
from tests.support.servers import Server
from tests.support.signing import readable_forms, signing_key

NEW = "another horse battery staple"
WRONG = "a password that is not right"


def _lived(server: Server, details: dict[str, str]) -> list[str]:
    """Do all that a user can do with tokens and passwords, and return each of the tokens."""
    assert server.call("POST", "/v1/users", details).status == 201
    tokens = [_signed_in(server, details["username"], PASSWORD) for _ in range(2)]
    first = tokens[0]
    for _ in range(2):
        body = {"refresh_token": tokens[-1]["refresh_token"]}
        tokens.append(server.call("POST", "/v1/sessions/refresh", body).json)
        _call(server, tokens[-1], "GET", "/v1/users/me", None, 200)
    reused = {"refresh_token": tokens[1]["refresh_token"]}
    assert server.call("POST", "/v1/sessions/refresh", reused).status == 401
    tokens.append(_call(server, first, "POST", "/v1/sessions/reauthenticate", {"password": PASSWORD}, 200))
    for current, status in ((WRONG, 403), (PASSWORD, 204)):
        body = {"current_password": current, "new_password": NEW}
        _call(server, first, "PUT", "/v1/users/me/password", body, status)
    tokens.append(_signed_in(server, details["username"], NEW))
    spoilt = {"refresh_token": f"{first['refresh_token'][:-1]}!"}
    assert server.call("POST", "/v1/sessions/refresh", spoilt).status == 401
    server.call("GET", f"/v1/users/me?access_token={first['access_token']}")
    server.call("GET", f"/{first['refresh_token']}", headers={"X-Request-Id": first["refresh_token"][:9]})
    _call(server, first, "DELETE", "/v1/sessions/current", None, 204)
    return [one[name] for one in tokens for name in ("access_token", "refresh_token")]


def _signed_in(server: Server, username: str, password: str) -> dict[str, str]:
    answer = server.call("POST", "/v1/sessions", {"identifier": username, "password": password})
    assert answer.status == 201, answer.body
    found: dict[str, str] = answer.json
    return found


def _call(
    server: Server, tokens: dict[str, str], method: str, path: str, body: dict[str, str] | None, status: int
) -> dict[str, str]:
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    answer = server.call(method, path, body, bearer)
    assert answer.status == status, answer.body
    found: dict[str, str] = answer.json if answer.body else {}
    return found


def _forms(token: str) -> Iterator[bytes]:
    """Yield a token, and what of it would do as well."""
    yield token.encode()
    last = token.removeprefix("tsr_").rpartition(".")[2]  # the signature, or all of a refresh token
    yield last.encode()
    yield last[-43:].encode()
    content = base64.urlsafe_b64decode(last + "=" * (-len(last) % 4))
    yield from (content[-32:], content[-32:].hex().encode())


def _files(server: Server, environ: dict[str, str], database: str) -> Iterator[tuple[str, bytes]]:
    """Yield all that the service keeps: its log, its folder, and the files of SQLite."""
    folders = [Path(environ["TESSERA_DATA_DIR"])]
    if database.startswith("sqlite"):
        folders.append(Path(database.removeprefix("sqlite:///")).parent)
    for path in (server.log, *(path for folder in folders for path in folder.rglob("*"))):
        if path.is_file():
            yield path.name, read_apart(path)


def _rows(app: Flask) -> Iterator[tuple[str, bytes]]:
    """Yield every table as text."""
    with app.app_context(), db.engine.connect() as connection:
        for table in sa.inspect(connection).get_table_names():
            if table == "users_search":  # a way to search, which has no rows to show
                continue
            rows = connection.execute(sa.text(f'SELECT * FROM "{table}"')).all()
            yield table, "\n".join(map(str, rows)).encode()


def test_no_token_no_password_and_no_private_key_is_left_anywhere(
    app: Flask, server: Server, environ: dict[str, str], database: str
) -> None:
    details = new_details()
    tokens = _lived(server, details)
    secrets = {form for token in tokens for form in _forms(token)}
    secrets |= {password.encode() for password in (PASSWORD, NEW, WRONG)}
    secrets |= set(readable_forms(signing_key(app).private))
    left = dict([*_files(server, environ, database), *_rows(app)])
    assert {"sessions", "users", "signing_keys", "revocations", "server.log"} <= left.keys()
    readable = {where for where, content in left.items() if details["username"].encode() in content}
    assert readable >= {"users"}, "what is looked through can be read"
    if database.startswith("sqlite"):
        assert [where for where in readable if where.endswith((".db", "-wal"))]
    for where, content in left.items():
        assert [secret for secret in secrets if secret in content] == [], where
