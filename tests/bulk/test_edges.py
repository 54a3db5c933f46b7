"""Imports and exports over HTTP, as a caller may get them wrong."""

import io
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.exceptions import BadRequest, RequestTimeout

from api.bulk import service
from api.bulk.running import BATCH_TASK
from api.kit import clock, work
from api.kit.db import db
from api.kit.outbox import Owed
from tests.bulk.conftest import NDJSON, Import, deliver_all, exported, lines_of, row
from tests.conftest import MakeApp
from tests.support.clients import Person, new_person
from tests.support.servers import Server, chunked
from tests.support.waiting import wait_until

Post = Callable[..., Any]


def _problem(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.get_json(force=True)["code"]


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/plain", "", "text/csv; charset=latin-1", "multipart/form-data; boundary=x"],
)
def test_other_media_types_are_refused(post: Post, admin: Person, content_type: str) -> None:
    assert _problem(post(lines_of(row("mina")), content_type)) == (415, "unsupported_media_type")
    assert _imports(admin) == []


def test_a_compressed_file_is_refused(admin: Person) -> None:
    headers = admin.bearer | {"Content-Type": NDJSON, "Content-Encoding": "gzip"}
    assert _problem(admin.client.post("/v1/user-imports", data=b"x", headers=headers))[0] == 415


def test_a_file_over_the_limit_is_refused_and_forgotten(make_app: MakeApp) -> None:
    admin = new_person(make_app(IMPORT_BYTES="65536"), admin=True)
    body = lines_of(row("mina")) * 2000
    headers = admin.bearer | {"Content-Type": NDJSON}
    assert _problem(admin.client.post("/v1/user-imports", data=body, headers=headers)) == (
        413,
        "body_too_large",
    )
    assert _problem(_send_stream(admin, io.BytesIO(body))) == (413, "body_too_large")
    assert _imports(admin) == []


class _Breaking(io.RawIOBase):
    """A body that breaks off after more than a chunk."""

    def __init__(self, error: Exception) -> None:
        self._pieces = [lines_of(row("mina")) * 3000] * 10
        self._error = error

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._pieces:
            raise self._error
        return self._pieces.pop()


@pytest.mark.parametrize(
    ("error", "expected"),
    [(RequestTimeout(), (408, "request_timeout")), (BadRequest("It broke off."), (400, "malformed_request"))],
)
def test_a_file_that_breaks_off_is_forgotten(
    app: Flask, admin: Person, error: Exception, expected: tuple[int, str]
) -> None:
    assert _problem(_send_stream(admin, _Breaking(error))) == expected
    assert _imports(admin) == []
    with app.app_context(), work.reading():
        assert db.session.scalars(sa.select(Owed).where(Owed.kind == BATCH_TASK)).all() == []


def _send_stream(admin: Person, stream: Any) -> Any:
    overrides = {
        "wsgi.input": stream,
        "wsgi.input_terminated": True,
        "CONTENT_TYPE": NDJSON,
        "CONTENT_LENGTH": "",
        "HTTP_TRANSFER_ENCODING": "chunked",
    }
    return admin.client.post("/v1/user-imports", headers=admin.bearer, environ_overrides=overrides)


def test_an_upload_whose_process_died_is_forgotten_by_the_next_one(
    app: Flask, post: Post, admin: Person
) -> None:
    for hours in (0.5, 2):
        with app.app_context(), work.writing():
            job = service.resumed("x", 0, service.Choice("ndjson", False, "refuse"))
            job.status, job.touched_at = "uploading", clock.now() - timedelta(hours=hours)
    post(b"")
    assert sorted(job["status"] for job in _imports(admin)) == ["uploading", "waiting"]


def _imports(person: Person) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = person.call("GET", "/v1/user-imports").get_json()["items"]
    return items


def test_imports_are_listed_a_page_at_a_time(post: Post, admin: Person) -> None:
    ids = [post(b"").get_json()["id"] for _ in range(3)]
    first = admin.call("GET", "/v1/user-imports?limit=2")
    assert 'rel="next"' in first.headers["Link"]
    rest = admin.call("GET", f"/v1/user-imports?limit=2&cursor={first.get_json()['next_cursor']}").get_json()
    assert [job["id"] for job in [*first.get_json()["items"], *rest["items"]]] == ids[::-1]
    assert rest["next_cursor"] is None


def test_a_cursor_of_one_imports_errors_is_not_anothers(post: Post, app: Flask, admin: Person) -> None:
    ids = [post(b"{\n" * 3).get_json()["id"] for _ in range(2)]
    deliver_all(app)
    cursor = admin.call("GET", f"/v1/user-imports/{ids[0]}/errors?limit=1").get_json()["next_cursor"]
    assert admin.call("GET", f"/v1/user-imports/{ids[0]}/errors?cursor={cursor}").status_code == 200
    assert admin.call("GET", f"/v1/user-imports/{ids[1]}/errors?cursor={cursor}").status_code == 422


def test_an_import_that_is_not_there_is_404(admin: Person) -> None:
    path = "/v1/user-imports/0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10"
    for method, where in (("GET", path), ("DELETE", path), ("GET", f"{path}/errors")):
        assert admin.call(method, where).status_code == 404


def test_an_import_is_ended_by_deleting_it(post: Post, app: Flask, admin: Person) -> None:
    deliver_all(app)  # the letters
    answer = post(b"".join(lines_of(row(f"user{n}")) for n in range(2500)))
    path = f"/v1/user-imports/{answer.get_json()['id']}"
    app.extensions["tessera.courier"].deliver_next()
    tag = admin.call("GET", path).headers["ETag"]
    assert admin.call("GET", path, If_None_Match=tag).status_code == 304
    assert admin.call("DELETE", path, If_Match='"stale"').status_code == 412
    assert admin.call("DELETE", path, If_Match=tag).status_code == 204
    deliver_all(app)
    assert admin.call("GET", path).status_code == 404
    assert exported(admin).count(b"@example.com") == 2001, "the first batch stays"


def test_who_lacks_a_permission_neither_imports_nor_exports(post: Post, mina: Person, admin: Person) -> None:
    assert _problem(post(lines_of(row("eve")), person=mina)) == (403, "permission_denied")
    assert _imports(admin) == []
    assert mina.call("GET", "/v1/user-export").status_code == 403


def _with_permissions(person: Person, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let an administrator have these permissions alone."""
    monkeypatch.setattr("api.users.roles.permissions_of", lambda roles: frozenset(names))


def test_who_may_import_alone_neither_updates_nor_gives_roles(
    bring: Import, post: Post, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_permissions(admin, monkeypatch, "users:import")
    assert _problem(post(lines_of(row("eve")), query="?on_conflict=update")) == (403, "permission_denied")
    job = bring(lines_of(row("eve", roles=["admin"]), row("mina", roles=[])))
    assert [error["code"] for error in job["errors"]] == ["may_not_grant"]
    assert job["created"] == 1


def test_who_lacks_a_permission_changes_nobody_with_roles(
    bring: Import, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_permissions(admin, monkeypatch, "users:import", "users:write")
    job = bring(
        lines_of({"username": admin.user["username"], "password": "mine now, battery"}),
        query="?on_conflict=update",
    )
    assert [error["code"] for error in job["errors"]] == ["may_not_change"]


def test_secrets_are_exported_to_who_may(admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    assert b"password_hash" in exported(admin)
    assert b"password_hash" not in exported(admin, "")
    assert b"roles" not in exported(admin, "")
    _with_permissions(admin, monkeypatch, "users:export")
    assert admin.call("GET", "/v1/user-export").status_code == 200
    assert _problem(admin.call("GET", "/v1/user-export?secrets=true")) == (403, "permission_denied")


def test_an_export_is_accepted_as_what_it_is(admin: Person) -> None:
    for accept, status in (("text/csv", 200), (NDJSON, 200), ("*/*", 200), ("text/html", 406)):
        assert admin.call("GET", "/v1/user-export", Accept=accept).status_code == status


def test_both_are_limited(make_app: MakeApp) -> None:
    admin = new_person(make_app(LIMITS="on", REQUEST_LIMIT="1 per hour"), admin=True)
    for _ in range(2):
        answers = [
            admin.call("GET", "/v1/user-export").status_code,
            admin.client.post(
                "/v1/user-imports", data=b"", content_type=NDJSON, headers=admin.bearer
            ).status_code,
            admin.call("GET", "/v1/user-imports").status_code,
        ]
    assert answers == [429] * 3


@pytest.mark.usefixtures("patient_app")
def test_it_streams_through_the_server(server: Server, app: Flask) -> None:
    admin = new_person(app, admin=True)
    body = b"".join(lines_of(row(f"user{n}")) for n in range(3000))
    headers = admin.bearer | {"Content-Type": NDJSON, "Transfer-Encoding": "chunked"}
    answer = server.call("POST", "/v1/user-imports", chunked(body), headers)
    assert answer.status == 202, answer.body
    deliver_all(app)
    export = server.call("GET", "/v1/user-export", headers=admin.bearer)
    assert export.body.count(b"\n") == 3002
    assert export.body.endswith(b'{"end_of_export":3001}\n')


def test_an_upload_cut_by_the_client_leaves_nothing(server: Server, app: Flask) -> None:
    admin = new_person(app, admin=True)
    head = (
        "POST /v1/user-imports HTTP/1.1\r\nHost: id.example.com\r\nContent-Type: application/x-ndjson\r\n"
        f"Authorization: {admin.bearer['Authorization']}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    body = lines_of(row("mina")) * 2000
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head + b"%x\r\n" % len(body) + body + b"\r\n5\r\nab")
        wait_until(lambda: _imports(admin), "the upload has begun")
    wait_until(lambda: not _imports(admin), "the upload is removed")
