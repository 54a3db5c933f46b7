"""Examples of the contract: what a story sent and got, with what is different each time replaced."""

import io
import re
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from datetime import datetime, timedelta
from hashlib import shake_256
from pathlib import Path
from typing import Any

import time_machine
from flask import Flask
from marshmallow import Schema
from werkzeug.test import TestResponse

from api.app import create_app
from api.kit.db import dispose
from api.kit.hashing import Hasher
from schemas.base import CANONICAL_UUID, instant_text
from tests.support import databases
from tests.support.clients import client_of, contract_of
from tests.support.own import environ_of

Examples = dict[str, dict[str, Any]]  # by operation: the `body` that was sent, the `answer` that came

BEGIN = "2026-11-22T09:30:00Z"
PACE = 7  # seconds from one request to the next
ITEMS = 2  # of a list of objects, in an example
LIFETIME = 873  # seconds, of an access token: it varies
# What is different each time, by the name of its member. The point on the curve is that of RFC 7517.
STAND_INS = {
    "access_token": "eyJhbGciOiJFUzI1NiIsImtpZCI6...",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}
OPAQUE = ("kid", "next_cursor", "refresh_token", "token")


class Taker:
    """Calls operations as one caller after another, and keeps the first success of each."""

    def __init__(self, app: Flask, clock: time_machine.Traveller) -> None:
        self._client, self._clock = client_of(app), clock
        self._stand_ins: dict[str, str] = {}
        self.examples: Examples = {}
        self.bearer: dict[str, str] = {}

    def call(self, method: str, path: str, json: Any = None, **kwargs: Any) -> Any:
        """Return the JSON of an answer that is a success, or None when it has none."""
        self._clock.shift(PACE)
        headers = {"User-Agent": "Example/1.0 (Android 16)", **self.bearer}
        environ = {"REMOTE_ADDR": "192.0.2.7"}
        response = self._client.open(
            path, method=method, json=json, headers=headers, environ_overrides=environ, **kwargs
        )
        assert response.status_code < 400, f"{method} {path}: {response.text}"
        self._keep(method, path, json, response)
        return response.get_json(silent=True)

    def sign_in(self, name: str, password: str, device: str = "phone") -> Any:
        """Go on as somebody else, or on another device."""
        self.bearer = {}
        credentials = {"identifier": name, "password": password, "device_name": f"{name.title()}'s {device}"}
        return self.carry(self.call("POST", "/v1/sessions", credentials))

    def carry(self, tokens: Any) -> Any:
        """Send the access token of an answer from here on."""
        self.bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        return tokens

    def _keep(self, method: str, path: str, body: Any, response: TestResponse) -> None:
        app = self._client.application
        found = contract_of(app).find(method, path.partition("?")[0])
        assert found is not None, path
        operation = app.extensions["tessera"].operations[found[1]["operationId"]]
        taken = {}
        if isinstance(operation.body, Schema):
            taken["body"] = self._lasting(body)
        if operation.answer is not None:
            taken["answer"] = self._lasting(response.get_json())
        if taken:
            self.examples.setdefault(operation.id, taken)

    def _lasting(self, value: Any, name: str = "") -> Any:
        """Return a value with what is different each time replaced, and its lists of objects cut."""
        match value:
            case dict():
                return self._lasting_object(value)
            case [dict(), *_]:
                return [self._lasting(item) for item in value[:ITEMS]]
            case str() if name in OPAQUE:
                return self._stand_ins.setdefault(value, _like(value, len(self._stand_ins)))
            case str():
                return STAND_INS.get(name) or re.sub(CANONICAL_UUID, self._lasting_id, value)
        return value

    def _lasting_object(self, value: Mapping[str, Any]) -> dict[str, Any]:
        lasting = {name: self._lasting(inner, name) for name, inner in value.items()}
        if "expires_in" in value:
            expires_at = datetime.fromisoformat(value["expires_at"])
            later = expires_at + timedelta(seconds=LIFETIME - value["expires_in"])
            lasting |= {"expires_in": LIFETIME, "expires_at": instant_text(later)}
        return lasting

    def _lasting_id(self, found: re.Match[str]) -> str:
        """Return an id that stands for another one wherever that is met."""
        place = f"{0x4DC0 + len(self._stand_ins):04x}"
        return self._stand_ins.setdefault(found[0], f"01a20297-{place}-7c63-9f21-6f0a4b8c2d10")


def _like(text: str, number: int) -> str:
    """Return an opaque text as long as another, with its prefix, that depends on a number alone."""
    prefix = "tsr_" if text.startswith("tsr_") else ""
    opaque = urlsafe_b64encode(shake_256(str(number).encode()).digest(len(text))).decode()
    return prefix + opaque[: len(text) - len(prefix)]


@contextmanager
def a_service() -> Iterator[tuple[Flask, time_machine.Traveller]]:
    """Yield a service, which hashes cheaply and logs nowhere, and its clock, which moves when told to."""
    with (
        tempfile.TemporaryDirectory() as folder,
        databases.fresh("sqlite", Path(folder)) as database,
        time_machine.travel(BEGIN, tick=False) as clock,
        redirect_stderr(io.TextIOWrapper(io.BytesIO())),
    ):
        app = create_app(environ_of(folder, PUBLIC_URL="https://id.example.com", DATABASE_URL=database))
        app.extensions["tessera.hasher"] = Hasher(64, 1, Path(folder))
        try:
            yield app, clock
        finally:
            with app.app_context():
                dispose()
