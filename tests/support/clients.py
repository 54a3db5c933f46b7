"""Clients that hold what they see against the contract, and the people who use them."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.kit import openapi, work
from api.users import signing_up
from tests.support.contract import Contract

PASSWORD = "correct horse battery staple"


class ContractClient(FlaskClient):
    """Flask's test client; every answer is held against the app's own OpenAPI document."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        response = super().open(*args, **kwargs)
        request = response.request
        contract_of(self.application).check(
            request.method, request.path, response.status_code, response.headers, response.get_data()
        )
        return response


_CONTRACTS: dict[str, Contract] = {}
_ELSEWHERE = {"DATABASE_URL", "DATA_DIR", "MAIL_URL", "SECRET_KEY"}  # no document depends on them


def contract_of(app: Flask) -> Contract:
    """Return the contract of an app, made once for all that are set up alike."""
    if "contract" not in app.extensions:
        service = app.extensions["tessera"]
        settings = [(s.name, service.settings[s]) for s in service.settings.declared]
        chosen = [(name, value) for name, value in settings if name not in _ELSEWHERE]
        alike = repr((chosen, [feature.name for feature in service.features], sorted(service.operations)))
        if alike not in _CONTRACTS:
            _CONTRACTS[alike] = Contract(openapi.document(service))
        app.extensions["contract"] = _CONTRACTS[alike]
    found: Contract = app.extensions["contract"]
    return found


def client_of(app: Flask) -> ContractClient:
    return ContractClient(app, app.response_class)


@dataclass
class Person:
    """Somebody with an account, signed in."""

    client: ContractClient
    user: dict[str, Any]
    tokens: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return str(self.user["id"])

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens['access_token']}"}

    def call(self, method: str, path: str, json: Any = None, **headers: str) -> TestResponse:
        """Send a request with this person's access token; `If_Match` becomes `If-Match`."""
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.open(path, method=method, json=json, headers=self.bearer | extra)

    def sign_in(self, **more: str) -> dict[str, Any]:
        """Start a session of this person, and return what came back."""
        credentials = {"identifier": self.user["username"], "password": PASSWORD, **more}
        response = self.client.post("/v1/sessions", json=credentials)
        assert response.status_code == 201, response.text
        found: dict[str, Any] = response.get_json()
        return found

    def refresh(self, refresh_token: str | None = None) -> TestResponse:
        token = refresh_token or self.tokens["refresh_token"]
        return self.client.post("/v1/sessions/refresh", json={"refresh_token": token})


def new_details(**more: Any) -> dict[str, Any]:
    """Return what signing up takes, for somebody new."""
    name = f"user-{secrets.token_hex(4)}"
    return {"username": name, "email": f"{name}@example.com", "password": PASSWORD, **more}


def new_person(app: Flask, *, admin: bool = False, **more: Any) -> Person:
    """Sign somebody up and in; an administrator is made as the command makes one."""
    client = client_of(app)
    details = new_details(**more)
    if admin:
        with app.app_context(), work.writing():
            signing_up.sign_up(**details, as_admin=True)
        user = {"username": details["username"]}
    else:
        response = client.post("/v1/users", json=details)
        assert response.status_code == 201, response.text
        user = response.get_json()
    person = Person(client, user)
    person.tokens = person.sign_in()
    person.user = person.tokens["user"]
    return person
