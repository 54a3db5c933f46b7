"""What tests of imports share."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from api.bulk import running
from api.kit.db import db
from tests.support.clients import Person
from tests.support.patience import patient

NDJSON = "application/x-ndjson"
Import = Callable[..., dict[str, Any]]


def lines_of(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def row(name: str, **more: Any) -> dict[str, Any]:
    """Return a row of somebody of that name."""
    return {"username": name, "email": f"{name}@example.com", **more}


def deliver_all(app: Flask) -> None:
    """Do what is owed, as the worker would."""
    courier = app.extensions["tessera.courier"]
    while courier.deliver_next():
        pass


@pytest.fixture(autouse=True)
def full_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a batch take its time: tests that count batches pass on a busy machine as well."""
    monkeypatch.setattr(running, "BATCH_SECONDS", 60.0)


@pytest.fixture
def patient_app(app: Flask) -> Iterator[None]:
    """Let the app wait longer, on new connections, for an import of many rows.

    PostgreSQL keeps the plan of a prepared statement for as long as the connection lasts. Plans that were
    made for the few users of other tests read the whole table, and exceed the statement timeout here.
    """
    with app.app_context():
        engines = list(db.engines.values())
    with patient(engines):
        yield


@pytest.fixture
def post(admin: Person) -> Callable[..., Any]:
    """Sends a file, and returns the answer."""

    def send(body: bytes, content_type: str = NDJSON, query: str = "", person: Person = admin) -> Any:
        return person.client.post(
            f"/v1/user-imports{query}", data=body, content_type=content_type, headers=person.bearer
        )

    return send


@pytest.fixture
def bring(app: Flask, admin: Person, post: Callable[..., Any]) -> Import:
    """Brings a file in to its end, and returns the import with its `errors`."""

    def bring(body: bytes, content_type: str = NDJSON, query: str = "") -> dict[str, Any]:
        answer = post(body, content_type, query)
        assert answer.status_code == 202, answer.text
        deliver_all(app)
        path = answer.headers["Location"].removeprefix("https://id.example.com")
        found: dict[str, Any] = admin.call("GET", path).get_json()
        return found | {"errors": list(_errors(admin, path))}

    return bring


def _errors(admin: Person, path: str) -> Iterator[dict[str, Any]]:
    cursor = ""
    while cursor is not None:
        page = admin.call("GET", f"{path}/errors?limit=100{cursor and f'&cursor={cursor}'}").get_json()
        yield from page["items"]
        cursor = page["next_cursor"]


def exported(person: Person, query: str = "?secrets=true") -> bytes:
    answer = person.call("GET", f"/v1/user-export{query}")
    assert answer.status_code == 200, answer.text
    return answer.get_data()
