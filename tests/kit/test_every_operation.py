"""Every operation of the contract meets every refusal that it declares, and echoes nothing."""

import copy
import io
import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from flask_restful import Resource
from werkzeug.exceptions import RequestTimeout
from werkzeug.test import TestResponse

from api.bulk import service as bulk
from api.kit import work
from api.kit.feature import Feature
from api.sessions import tokens
from api.users import standing
from api.users.roles import every_permission
from tests.kit.conftest import MakeOffline
from tests.support import databases
from tests.support.clients import (
    PASSWORD,
    ContractClient,
    Person,
    client_of,
    contract_of,
    new_details,
    new_person,
)
from tests.support.contract import METHODS
from tests.support.mail import one_time_token
from tests.support.roles import new_holder, new_role
from tests.support.signing import foreign_key, signing_key

pytestmark = databases.ON_SQLITE

BODY_LIMIT = 65536  # bytes
TOKENS = {
    "confirmEmail": "email_verification",
    "confirmPasswordReset": "password_reset",
    "revertEmailChange": "email_change",
}
MASS_ASSIGNMENT = {
    "is_admin": True,
    "role": "admin",
    "roles": ["admin"],
    "permissions": ["users:write"],
    "email_verified": True,
    "id": "0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10",
    "user_id": "0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10",
    "created_at": "2020-01-01T00:00:00.000000Z",
    "last_seen_at": None,
    "password_hash": "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA",
    "status": "active",
    "version": 7,
    "username_key": "admin",
    "user_metadata": {},
    "deleted_at": None,
    "": 1,
    "__proto__": {"is_admin": True},
}
WRONG: tuple[tuple[str, Any], ...] = (
    ("object", {}),
    ("array", []),
    ("integer", 1),
    ("number", 1.5),
    ("boolean", True),
    ("null", None),
    ("string", "x"),
    ("object", {"canary-7c1e": "canary-7c1e"}),
    ("array", ["canary-7c1e"]),
)


@dataclass(frozen=True)
class Op:
    """An operation as the contract describes it."""

    id: str
    method: str
    template: str
    described: dict[str, Any]
    schemas: dict[str, Any]

    @property
    def public(self) -> bool:
        return not self.described["security"]

    @property
    def has_body(self) -> bool:
        return "application/json" in self.described.get("requestBody", {}).get("content", {})

    @property
    def file(self) -> dict[str, Any]:
        """What the operation reads as it arrives, in the words of Flask's test client."""
        for media_type, described in self.described.get("requestBody", {}).get("content", {}).items():
            if not self.has_body:
                return {"data": described["example"], "content_type": media_type}
        return {}

    @property
    def statuses(self) -> set[int]:
        return {int(status) for status in self.described["responses"]}

    @property
    def success(self) -> int:
        return min(self.statuses)

    @property
    def members(self) -> dict[str, Any]:
        """The schemas of the body's members."""
        schema = self.described["requestBody"]["content"]["application/json"]["schema"]
        found: dict[str, Any] = self.schemas[schema["$ref"].rpartition("/")[2]]["properties"]
        return found

    @property
    def strings(self) -> Iterator[str]:
        return (name for name, schema in self.members.items() if "string" in _types(schema))

    def codes(self, status: int) -> set[str]:
        content = self.described["responses"][str(status)]["content"]["application/problem+json"]
        return set(content["examples"])

    def path(self, user_id: str = "me", session_id: str | None = None, **more: str) -> str:
        values = {"user_id": user_id, "session_id": session_id or str(uuid4()), "code": "not_found"}
        values |= {"role": "admin", "import_id": str(uuid4()), "asset": "docs.js"} | more
        return self.template.format(**values)


def operations(app: Flask) -> list[Op]:
    """Return every operation of the app's own contract."""
    document = contract_of(app).document
    return [
        Op(described["operationId"], method.upper(), template, described, document["components"]["schemas"])
        for template, item in document["paths"].items()
        for method, described in item.items()
        if method in METHODS
    ]


def _types(schema: Mapping[str, Any]) -> list[str]:
    if "$ref" in schema:
        return ["object"]  # nothing else has a name
    if "anyOf" in schema:
        return [found for choice in schema["anyOf"] for found in _types(choice)]
    found = schema["type"]
    return [found] if isinstance(found, str) else list(found)


def _valid_body(op: Op, person: Person | None = None) -> dict[str, Any]:
    """Return a body that the operation takes, of values that nobody else sends."""
    canary = f"canary-{secrets.token_hex(4)}"
    bodies: dict[str, dict[str, Any]] = {
        "createUser": new_details(display_name=canary, locale="ko-KR", metadata={"theme": canary}),
        "updateUser": {"display_name": canary, "locale": "ko-KR", "metadata": {"theme": canary}},
        "createSession": {"identifier": canary, "password": PASSWORD, "device_name": canary},
        "refreshSession": {"refresh_token": canary},
        "endSessionByRefreshToken": {"refresh_token": canary},
        "reauthenticateSession": {"password": PASSWORD},
        "changePassword": {"current_password": PASSWORD, "new_password": canary},
        "confirmEmail": {"token": canary},
        "createPasswordReset": {"email": f"{canary}@example.com"},
        "confirmPasswordReset": {"token": canary, "new_password": canary},
        "revertEmailChange": {"token": canary, "new_password": canary},
        "suspendUser": {"reason": canary, "until": None},
        "createRole": {"name": canary, "summary": canary, "permissions": []},
        "updateRole": {"summary": canary, "permissions": []},
    }
    if person is not None:
        for name, purpose in TOKENS.items():
            bodies[name]["token"] = one_time_token(person, purpose)
        bodies["createSession"]["identifier"] = person.user["username"]
        for name in ("refreshSession", "endSessionByRefreshToken"):
            bodies[name]["refresh_token"] = person.sign_in()["refresh_token"]
    assert op.id in bodies, f"{op.id}: this test must know a body that it takes"
    return bodies[op.id]


def _call(client: ContractClient, op: Op, bearer: Mapping[str, str], **kwargs: Any) -> TestResponse:
    """Call an operation on oneself; unless told otherwise, with a body that it takes."""
    if op.has_body and not kwargs.keys() & {"json", "data", "environ_overrides"}:
        kwargs["json"] = _valid_body(op)
    kwargs = op.file | kwargs
    headers = {**bearer, **kwargs.pop("headers", {})}
    path = kwargs.pop("path", op.path())
    return client.open(path, method=op.method, headers=headers, **kwargs)


def _wrong(response: TestResponse, status: int, code: str) -> str | None:
    """Return what came in place of a refusal, or None."""
    found = response.get_json(force=True, silent=True) or {}
    if (response.status_code, found.get("code")) == (status, code):
        return None
    return f"{response.status_code} {response.text[:300]}"


def _collect(found: Iterator[tuple[str, str | None]]) -> list[str]:
    """Return what went wrong, each with where."""
    return [f"{where}: {wrong}" for where, wrong in found if wrong]


def _with_body(app: Flask) -> list[Op]:
    return [op for op in operations(app) if op.has_body]


def _protected(app: Flask) -> list[Op]:
    return [op for op in operations(app) if not op.public]


# 400


def test_every_operation_refuses_a_bad_host(offline: ContractClient) -> None:
    found = (
        (op.id, _wrong(_call(offline, op, {}, environ_overrides=overrides), 400, "malformed_request"))
        for op in operations(offline.application)
        for overrides in ({"HTTP_HOST": ""}, {"HTTP_HOST": "a,b"})
    )
    assert _collect(found) == []


def test_every_operation_with_a_body_refuses_what_is_no_json(admin: Person) -> None:
    found = (
        (op.id, _wrong(_send(admin, op, body), 400, "malformed_json"))
        for op in _with_body(admin.client.application)
        for body in (
            b"",
            b"{",
            b"[" * 2000,
            b'{"a":1,"a":2}',
            b'{"a":NaN}',
            b"\xef\xbb\xbf{}",
            b'{"a":"\xff"}',
        )
    )
    assert _collect(found) == []


def test_every_operation_refuses_a_malformed_header(admin: Person) -> None:
    found = (
        (
            op.id,
            _wrong(
                _call(
                    admin.client,
                    op,
                    admin.bearer,
                    path=op.path(import_id=_new_import(admin.client.application)),
                    headers={parameter["name"]: "non sense"},
                ),
                400,
                "malformed_request",
            ),
        )
        for op in operations(admin.client.application)
        for parameter in op.described.get("parameters", [])
        if parameter["in"] == "header" and op.id != "getSuspension"  # there is none: 404 comes first
    )
    assert _collect(found) == []


# 401


def test_every_operation_but_the_public_ones_needs_a_token(offline: ContractClient) -> None:
    for op in _protected(offline.application):
        response = _call(offline, op, {})
        assert _wrong(response, 401, "authentication_required") is None, f"{op.id}: {response.text}"
        assert response.headers.getlist("WWW-Authenticate") == ["Bearer"], op.id


def test_no_operation_accepts_a_token_that_is_not_from_here(client: ContractClient) -> None:
    for op in _protected(client.application):
        for header in _bad_authorizations(client.application):
            response = _call(client, op, {"Authorization": header})
            assert _wrong(response, 401, "invalid_token") is None, f"{op.id} {header[:60]}: {response.text}"
            assert response.headers.getlist("WWW-Authenticate") == ['Bearer error="invalid_token"'], op.id
            assert header.partition(" ")[2][:20] not in response.text or len(header) < 20, op.id


def _bad_authorizations(app: Flask) -> list[str]:
    key = signing_key(app)
    now = int(time.time())
    claims = {
        "iss": "https://id.example.com", "aud": "https://id.example.com", "sub": str(uuid4()),
        "sid": str(uuid4()), "jti": str(uuid4()), "iat": now, "nbf": now, "exp": now + 600,
        "auth_time": now, "roles": ["admin"], "scope": "users:read users:write", "amr": ["pwd"],
        "type": "access", "fresh": False,
    }  # fmt: skip
    foreign = ec.generate_private_key(ec.SECP256R1())
    headers = {"typ": "at+jwt", "kid": key.kid}
    forged = jwt.encode(claims, foreign, "ES256", headers)
    reset = jwt.encode(claims, key.private, "ES256", headers | {"typ": "reset+jwt"})
    other = jwt.encode(claims | {"aud": "https://other.example"}, key.private, "ES256", headers)
    credentials = [forged, reset, other, "nonsense", "a.b.c", "..", "tsr_" + "A" * 70, "tsk_abc", "A" * 9000]
    return [f"Bearer {credential}" for credential in credentials] + [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "x",
    ]


# 406, 408, 413, 415


def test_every_operation_refuses_a_media_type_that_it_does_not_speak(offline: ContractClient) -> None:
    found = (
        (op.id, _wrong(_call(offline, op, {}, headers={"Accept": "application/pdf"}), 406, "not_acceptable"))
        for op in operations(offline.application)
    )
    assert _collect(found) == []


def test_every_operation_with_a_body_waits_for_it_only_so_long(admin: Person) -> None:
    found = (
        (op.id, _wrong(_send_stream(admin, op, _Stalled()), 408, "request_timeout"))
        for op in _with_body(admin.client.application)
    )
    assert _collect(found) == []


def test_every_operation_with_a_body_bounds_it(admin: Person) -> None:
    body = b'{"canary":"' + b"a" * BODY_LIMIT + b'"}'
    found = (
        (op.id, _wrong(response, 413, "body_too_large"))
        for op in _with_body(admin.client.application)
        for response in (_send(admin, op, body), _send_stream(admin, op, io.BytesIO(body)))
    )
    assert _collect(found) == []


def test_every_operation_with_a_body_refuses_what_is_not_called_json(admin: Person) -> None:
    types = (
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/json-patch+json",
    )
    found = (
        (
            f"{op.id} {content_type}",
            _wrong(_send(admin, op, b"{}", content_type), 415, "unsupported_media_type"),
        )
        for op in _with_body(admin.client.application)
        for content_type in types
    )
    assert _collect(found) == []


def test_only_a_patch_is_sent_as_a_merge_patch(admin: Person) -> None:
    taken = {
        op.id
        for op in _with_body(admin.client.application)
        if _send(admin, op, b"{}", "application/merge-patch+json").status_code != 415
    }
    assert taken == {op.id for op in _with_body(admin.client.application) if op.method == "PATCH"}


# 422: parameters


def test_no_operation_has_an_unknown_query_parameter(admin: Person) -> None:
    for op in operations(admin.client.application):
        response = _call(admin.client, op, admin.bearer, path=f"{op.path()}?canary_name=canary-value")
        assert _wrong(response, 422, "validation_failed") is None, f"{op.id}: {response.text}"
        named = [error["parameter"] for error in response.get_json(force=True)["errors"]]
        assert named == ["canary_name"], op.id
        assert "canary-value" not in response.text, op.id


@pytest.mark.parametrize(
    "name", ["password_hash", "fields", "filter[status]", "q'--", "\u00e4", "_schema", ""]
)
def test_no_query_parameter_reaches_hidden_columns(admin: Person, name: str) -> None:
    for op in operations(admin.client.application):
        response = _call(admin.client, op, admin.bearer, path=f"{op.path()}?{quote(name)}=canary-value")
        assert _wrong(response, 422, "validation_failed") is None, f"{op.id}: {response.text}"
        assert "canary-value" not in response.text, op.id


def test_no_operation_takes_a_query_parameter_twice(admin: Person) -> None:
    for op in operations(admin.client.application):
        names = [p["name"] for p in op.described.get("parameters", []) if p["in"] == "query"] or ["any"]
        for name in names:
            query = f"{name}=canary-1&{name}=canary-2"
            response = _call(admin.client, op, admin.bearer, path=f"{op.path()}?{query}")
            assert _wrong(response, 422, "validation_failed") is None, f"{op.id}: {response.text}"
            assert "canary" not in response.text, op.id


UNFIT_QUERY_VALUES = (
    "",
    "canary",
    "-1",
    "0",
    "201",
    "1e2",
    "1.0",
    " 5",
    "9" * 30,
    "\x00",
    "\ud800",
    "'--",
    "a" * 5000,
)


def test_every_query_parameter_refuses_what_it_cannot_be(admin: Person) -> None:
    for op in operations(admin.client.application):
        for parameter in op.described.get("parameters", []):
            if parameter["in"] == "query":
                for value in UNFIT_QUERY_VALUES:
                    if not _is_within(parameter["schema"], value):
                        _refuses_parameter(admin, op, parameter["name"], value)


def _is_within(schema: Mapping[str, Any], value: str) -> bool:
    """Tell whether a value is a whole number, or a text of any kind, within the bounds of its parameter."""
    if schema["type"] == "string" and not {"enum", "format"} & schema.keys():
        # A lone surrogate passes: its escapes arrive as they are, which is a text.
        is_fit = re.search(schema["pattern"], value) is not None
        return is_fit and schema["minLength"] <= len(value) <= schema["maxLength"]
    is_number = schema["type"] == "integer" and re.fullmatch("[0-9]{1,18}", value)
    return bool(is_number) and schema["minimum"] <= int(value) <= schema["maximum"]


def _refuses_parameter(admin: Person, op: Op, name: str, value: str) -> None:
    where = f"{op.id} ?{name}={value[:20]!r}"
    text = quote(value, errors="surrogatepass")
    response = _call(admin.client, op, admin.bearer, path=f"{op.path()}?{name}={text}")
    assert _wrong(response, 422, "validation_failed") is None, f"{where}: {response.text}"
    assert [error["parameter"] for error in response.get_json(force=True)["errors"]] == [name], where
    assert "canary" not in response.text, where


UNFIT_IDS = (
    "ME",
    "1",
    "canary",
    "{}",
    "%00",
    "%ed%a0%80",
    "%ff",
    "..;",
    "'--",
    "a" * 5000,
    "0199D2A4-7B1E-7C63-9F21-6F0A4B8C2D10",
    "0199d2a47b1e7c639f216f0a4b8c2d10",
    "%7b0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10%7d",
    "0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10%0a",
)


def test_every_id_in_a_path_is_a_uuid(admin: Person) -> None:
    for op in operations(admin.client.application):
        for name in ("user_id", "session_id", "import_id"):
            if f"{{{name}}}" in op.template:
                for value in UNFIT_IDS:
                    response = _call(admin.client, op, admin.bearer, path=op.path(**{name: value}))
                    assert _wrong(response, 422, "validation_failed") is None, (
                        f"{op.id} {value}: {response.text}"
                    )
                    assert "canary" not in response.text, op.id


# 422: bodies


def test_every_body_is_an_object(admin: Person) -> None:
    for op in _with_body(admin.client.application):
        for body in (b"[]", b'["canary"]', b'"canary"', b"1", b"1.5", b"null", b"true", b"[{}]"):
            response = _send(admin, op, body)
            assert _wrong(response, 422, "validation_failed") is None, f"{op.id} {body!r}: {response.text}"
            assert [e["pointer"] for e in response.get_json(force=True)["errors"]] == [""], (
                f"{op.id} {body!r}"
            )
            assert "canary" not in response.text, op.id


def test_every_body_is_free_of_unknown_members(admin: Person) -> None:
    for op in _with_body(admin.client.application):
        body = _valid_body(op) | {"canary_name": "canary-value"}
        assert _pointers(admin, op, body, {"canary-value", *_texts(body)}) == ["/canary_name"], op.id


def test_the_pointer_to_an_unknown_member_is_escaped(admin: Person) -> None:
    for op in _with_body(admin.client.application):
        body = {**_valid_body(op), "a/b~c": 1, '"\u00e4': 1, "\ud800": 1, "~1": 1}
        expected = ["/a~1b~0c", '/"\u00e4', "/\\ud800", "/~01"]
        assert sorted(_pointers(admin, op, body)) == sorted(expected), op.id


@pytest.mark.parametrize(
    "name", ["\x00", "a\r\nb", "\x7f", "\x85", "\u202e", "\u2066", "/" * 60000, "_schema"]
)
def test_the_refusal_of_any_unknown_member_names_it_and_fits_the_contract(
    offline: ContractClient, name: str
) -> None:
    response = offline.post("/v1/users", json={**new_details(), name: 1})
    assert _wrong(response, 422, "validation_failed") is None, response.text[:300]
    [error] = response.get_json(force=True)["errors"]
    assert error["code"] == "unknown_member"
    assert error["pointer"] not in ("", "/")


@pytest.mark.parametrize(
    "name", ["%00", "%0d%0a", "%7f", "%c2%85", "%e2%80%ae", "%ed%a0%80", "%ff", "_schema"]
)
def test_the_refusal_of_any_unknown_parameter_names_it_and_fits_the_contract(
    offline: ContractClient, name: str
) -> None:
    response = offline.get(f"/v1/config?{name}=1")
    assert _wrong(response, 422, "validation_failed") is None, response.text
    [error] = response.get_json(force=True)["errors"]
    assert error["code"] == "unknown_member"
    assert error["parameter"]


def test_no_body_assigns_what_is_not_the_callers_to_write(admin: Person) -> None:
    before = admin.call("GET", "/v1/users/me").get_json()
    for op in _with_body(admin.client.application):
        for name in MASS_ASSIGNMENT.keys() - op.members.keys():
            pointers = _pointers(admin, op, _valid_body(op) | {name: MASS_ASSIGNMENT[name]})
            assert pointers == [f"/{name}"], op.id
    assert admin.call("GET", "/v1/users/me").get_json() == before
    assert len(admin.call("GET", "/v1/users").get_json()["items"]) == 1


def test_app_metadata_is_not_assigned_at_sign_up(client: ContractClient) -> None:
    response = client.post("/v1/users", json=new_details(app_metadata={"plan": "canary"}))
    assert _wrong(response, 422, "validation_failed") is None, response.text


def test_every_member_has_its_type(admin: Person) -> None:
    for op in _with_body(admin.client.application):
        for name, schema in op.members.items():
            for kind, value in WRONG:
                if kind not in _types(schema):
                    where = f"{op.id} {name}={value!r}"
                    body = _valid_body(op) | {name: value}
                    assert _pointers(admin, op, body, {"canary-7c1e"}) == [f"/{name}"], where


def test_no_string_holds_what_a_database_cannot(admin: Person) -> None:
    texts = ("\x00", "canary-\x00-tail", "\ud800", "canary-\udfff", "\udc00\ud800")
    for op in _with_body(admin.client.application):
        for name, text in product(op.strings, texts):
            body = _valid_body(op) | {name: text}
            assert _pointers(admin, op, body, {"canary-"}) == [f"/{name}"], f"{op.id} {name}"


def test_no_object_holds_what_a_database_cannot(admin: Person) -> None:
    for op in _with_body(admin.client.application):
        objects = (name for name, schema in op.members.items() if "object" in _types(schema))
        for name, text in product(objects, ("\x00", "a\x00b", "\\\x00", "\ud800", "\ud800 \udc00")):
            for value in ({"a": text}, {text: "a"}, {"a": [{"b": [text]}]}, {"a": {text: None}}):
                body = _valid_body(op) | {name: value}
                assert _pointers(admin, op, body) == [f"/{name}"], f"{op.id} {name}={value!r}"


def test_every_string_is_bounded(admin: Person) -> None:
    for op in _with_body(admin.client.application):
        for name, filler in product(op.strings, ("a", "\u00e4", "\U0001f639", "\ufdfa")):
            text = filler * 5000
            assert _pointers(admin, op, _valid_body(op) | {name: text}, {text}) == [f"/{name}"], (
                f"{op.id} {name}"
            )


def test_every_bound_that_is_declared_is_kept(admin: Person) -> None:
    for op in _with_body(admin.client.application):
        for name in op.strings:
            over = "a" * (op.members[name]["maxLength"] + 1)
            under = "a" * (op.members[name]["minLength"] - 1)
            for text in (over, under):
                assert _pointers(admin, op, _valid_body(op) | {name: text}) == [f"/{name}"], f"{op.id} {name}"


def test_every_required_member_is_missed_when_all_are(admin: Person) -> None:
    for op in _with_body(admin.client.application):
        schema = op.described["requestBody"]["content"]["application/json"]["schema"]
        required = op.schemas[schema["$ref"].rpartition("/")[2]].get("required", [])
        if required:
            assert sorted(_pointers(admin, op, {})) == sorted(f"/{name}" for name in required), op.id


def test_every_error_of_a_body_is_listed_at_once(admin: Person) -> None:
    for op in _with_body(admin.client.application):
        body: dict[str, Any] = dict.fromkeys(op.members, 1.5)
        assert sorted(_pointers(admin, op, body)) == sorted(f"/{name}" for name in op.members), op.id


# 503


def test_every_operation_that_needs_the_database_says_that_it_is_gone(offline: ContractClient) -> None:
    app = offline.application
    with app.test_request_context():
        now = int(time.time())
        claims = {"sid": str(uuid4()), "roles": [], "scope": "", "amr": ["pwd"], "auth_time": now, "gen": 0}
        end = datetime.now(UTC) + timedelta(hours=1)
        access = tokens.make_access_token(foreign_key(), uuid4(), claims, not_after=end).text
        refresh = tokens.make_refresh_token(uuid4(), 0)
    for op in operations(app):
        if 503 in op.statuses and "database_unavailable" in op.codes(503):
            body = {**_valid_body(op)} if op.has_body else None
            if op.id in ("refreshSession", "endSessionByRefreshToken"):
                body = {"refresh_token": refresh}
            kwargs = {} if body is None else {"json": body}
            response = _call(offline, op, {"Authorization": f"Bearer {access}"}, **kwargs)
            assert _wrong(response, 503, "database_unavailable") is None, f"{op.id}: {response.text}"
            assert int(response.headers["Retry-After"]) >= 1, op.id
            assert not [text for text in _texts(body or {}) if text in response.text], op.id


def test_every_other_operation_works_without_the_database(offline: ContractClient) -> None:
    for op in operations(offline.application):
        if 503 not in op.statuses:
            assert _call(offline, op, {}).status_code == 200, op.id


def test_readiness_names_the_part_that_is_gone(offline: ContractClient) -> None:
    response = offline.get("/health/ready")
    assert _wrong(response, 503, "not_ready") is None
    assert "database" in response.get_json(force=True)["detail"]
    assert int(response.headers["Retry-After"]) >= 1


# Who may: {operation: (nobody, another user, the owner, an administrator)}

PUBLIC_200 = (200, 200, 200, 200)
OWN_200 = (401, 404, 200, 200)
OWN_204 = (401, 404, 204, 204)
ADMIN_200 = (401, 403, 403, 200)
ADMIN_204 = (401, 403, 403, 204)
MATRIX: dict[str, tuple[int, int, int, int]] = {
    "getService": PUBLIC_200,
    "getClientConfig": PUBLIC_200,
    "getOpenApiJson": PUBLIC_200,
    "getOpenApiYaml": PUBLIC_200,
    "listProblemKinds": PUBLIC_200,
    "getProblemKind": PUBLIC_200,
    "getDocsPage": PUBLIC_200,
    "getDocsAsset": PUBLIC_200,
    "getLiveness": PUBLIC_200,
    "getReadiness": PUBLIC_200,
    "getKeySet": PUBLIC_200,
    "getAuthorizationServer": PUBLIC_200,
    "listRevocations": (401, 403, 403, 200),
    "createUser": (201, 201, 201, 201),
    "listUsers": (401, 403, 403, 200),
    "getUser": OWN_200,
    "updateUser": OWN_200,
    "deleteUser": OWN_204,
    "createSession": (201, 201, 201, 201),
    "refreshSession": PUBLIC_200,
    "reauthenticateSession": (401, 200, 200, 200),
    "endSessionByRefreshToken": (204, 204, 204, 204),
    "endCurrentSession": (401, 204, 204, 204),
    "changePassword": OWN_204,
    "createPasswordReset": (202, 202, 202, 202),
    "confirmPasswordReset": (204, 204, 204, 204),
    "createEmailVerification": (401, 202, 202, 202),
    "confirmEmail": PUBLIC_200,
    "revertEmailChange": (204, 204, 204, 204),
    "listSessions": OWN_200,
    "endSessions": OWN_204,
    "endSession": OWN_204,
    "exportUser": OWN_200,
    "getSuspension": ADMIN_200,
    "suspendUser": ADMIN_200,
    "liftSuspension": ADMIN_204,
    "restoreUser": ADMIN_200,
    "listRoles": ADMIN_200,
    "createRole": (401, 403, 403, 201),
    "getRole": ADMIN_200,
    "updateRole": ADMIN_200,
    "deleteRole": ADMIN_204,
    "grantRole": ADMIN_204,
    "takeRole": ADMIN_204,
    "listAuditEvents": (401, 403, 403, 200),
    "listUserAuditEvents": OWN_200,
    "createUserImport": (401, 403, 403, 202),
    "listUserImports": (401, 403, 403, 200),
    "getUserImport": (401, 403, 403, 200),
    "deleteUserImport": (401, 403, 403, 204),
    "listUserImportErrors": (401, 403, 403, 200),
    "exportUsers": (401, 403, 403, 200),
}
# What whoever has the one permission users:read may, and another user may not.
READER = {"listUsers": 200, "getUser": 200, "exportUser": 200, "getSuspension": 200}
# What a suspended user gets where nobody has to say who they are, but otherwise than nobody: a sign-in
# as with a wrong password, and a refresh as of a session that was signed out.
SUSPENDED = {"createSession": 401, "refreshSession": 401}


def test_every_operation_is_in_the_matrix(offline: ContractClient) -> None:
    assert {op.id for op in operations(offline.application)} == set(MATRIX)


def test_the_contract_calls_public_what_the_matrix_opens_to_nobody(offline: ContractClient) -> None:
    declared = {op.id for op in operations(offline.application) if op.public}
    assert declared == {name for name, (nobody, *_) in MATRIX.items() if nobody < 400}


EACH_METHOD = pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])


def _expected(found: Iterable[str], column: int, **others: int) -> dict[str, int]:
    """Return a column of the matrix, for the operations that were found."""
    return {name: others.get(name, MATRIX[name][column]) for name in found}


def test_the_matrix_is_tried_with_every_method(offline: ContractClient) -> None:
    assert {op.method for op in operations(offline.application)} == set(EACH_METHOD.args[1])


@EACH_METHOD
def test_nobody_may_what_the_matrix_says(app: Flask, method: str) -> None:
    row = _row(app, None, method)
    assert row == _expected(row, 0)


@EACH_METHOD
def test_another_user_may_what_the_matrix_says(app: Flask, method: str) -> None:
    row = _row(app, "another", method)
    assert row == _expected(row, 1)


@EACH_METHOD
def test_the_owner_may_what_the_matrix_says(app: Flask, method: str) -> None:
    row = _row(app, "owner", method)
    assert row == _expected(row, 2)


@EACH_METHOD
def test_an_administrator_may_what_the_matrix_says(app: Flask, method: str) -> None:
    row = _row(app, "admin", method)
    assert row == _expected(row, 3)


@EACH_METHOD
def test_who_has_one_permission_may_what_it_opens_and_no_more(app: Flask, method: str) -> None:
    row = _row(app, "reader", method)
    assert row == _expected(row, 1, **READER)


@EACH_METHOD
def test_a_suspended_user_may_what_nobody_may_and_less(app: Flask, method: str) -> None:
    row = _row(app, "suspended", method)
    assert row == _expected(row, 0, **SUSPENDED)


@EACH_METHOD
def test_the_declared_permission_alone_opens_an_operation_and_all_others_do_not(
    app: Flask, method: str
) -> None:
    everything = {p.name for p in app.extensions["tessera"].permissions}
    for op in operations(app):
        permission = _permission_of(app, op.id)
        if op.method == method and permission is not None:
            subjects = new_person(app), new_person(app)
            others = new_holder(app, *everything - {permission}), new_holder(app, permission)
            answers = [_attempt(op, client_of(app), *pair) for pair in zip(others, subjects, strict=True)]
            assert [answer.status_code for answer in answers] == [MATRIX[op.id][1], MATRIX[op.id][3]], op.id


def test_many_operations_declare_a_permission(app: Flask) -> None:
    assert len([name for name in MATRIX if _permission_of(app, name)]) >= 20


def _permission_of(app: Flask, name: str) -> str | None:
    found: str | None = getattr(app.extensions["tessera"].operations[name].access, "permission", None)
    return found


def _row(app: Flask, who: str | None, method: str) -> dict[str, int]:
    """Call every operation of a method on somebody new, and return how each was answered."""
    others: dict[str | None, Callable[[], Person]] = {
        "another": lambda: new_person(app),
        "admin": lambda: new_person(app, admin=True),
        "reader": lambda: new_holder(app, "users:read"),
    }
    other = others[who]() if who in others else None
    row: dict[str, int] = {}
    called = [op for op in operations(app) if op.method == method]
    for op in sorted(called, key=lambda op: op.id == "endCurrentSession"):
        subject = new_person(app) if not op.public or op.has_body else None
        caller = subject if who in ("owner", "suspended") else other
        row[op.id] = _attempt(op, client_of(app), caller, subject, suspended=who == "suspended").status_code
    return row


def _attempt(
    op: Op,
    client: ContractClient,
    caller: Person | None,
    subject: Person | None,
    *,
    suspended: bool = False,
) -> TestResponse:
    app = client.application
    path, kwargs = op.path(), {}
    if subject is not None:
        made = {"role": new_role(app), "import_id": _new_import(app)}
        path = op.path(subject.id, subject.tokens["session"]["id"], **made)
    if op.has_body:
        kwargs["json"] = _valid_body(op, subject)
    if subject is not None and suspended:
        _suspend(app, subject)
    elif subject is not None and caller is not subject:
        _prepare(app, op, subject)
    return _call(client, op, caller.bearer if caller else {}, path=path, **kwargs)


def _prepare(app: Flask, op: Op, subject: Person) -> None:
    """Bring somebody into the state that an operation is about."""
    if op.id in ("getSuspension", "liftSuspension"):
        _suspend(app, subject)
    elif op.id == "restoreUser":
        assert subject.call("DELETE", "/v1/users/me").status_code == 204


def _suspend(app: Flask, person: Person) -> None:
    with app.app_context(), work.writing():
        standing.suspend(UUID(person.id), "Sends spam.", None, held=every_permission(), by=None)


def _new_import(app: Flask) -> str:
    """Return the id of an import that is new."""
    with app.app_context(), work.writing():
        return str(bulk.resumed(secrets.token_hex(32), 0, bulk.Choice("ndjson", False, "refuse")).id)


def test_what_is_anothers_answers_as_what_is_not_there(mina: Person, ken: Person) -> None:
    for op in operations(ken.client.application):
        if "{user_id}" in op.template:
            session_id = str(mina.tokens["session"]["id"])
            answers = [
                _seen(_call(ken.client, op, ken.bearer, path=op.path(user_id, session_id)))
                for user_id in (mina.id, str(uuid4()), "00000000-0000-0000-0000-000000000000")
            ]
            assert answers[0][0] == MATRIX[op.id][1], op.id
            assert answers[0] == answers[1] == answers[2], op.id


def test_a_session_of_another_answers_as_one_that_is_not_there(mina: Person, ken: Person) -> None:
    answers = [
        _seen(ken.call("DELETE", f"/v1/users/me/sessions/{session_id}"))
        for session_id in (mina.tokens["session"]["id"], str(uuid4()))
    ]
    assert answers[0][0] == 404
    assert answers[0] == answers[1]
    assert mina.call("GET", "/v1/users/me").status_code == 200


def test_no_condition_tells_that_another_is_there(mina: Person, ken: Person) -> None:
    for method, header in (("GET", "If-None-Match"), ("PATCH", "If-Match"), ("DELETE", "If-Match")):
        for tag in ("*", '"1"', '"stale"'):
            body: dict[str, Any] | None = {} if method == "PATCH" else None
            extra = {header.replace("-", "_"): tag}
            answers = [
                _seen(ken.call(method, f"/v1/users/{user_id}", body, **extra))
                for user_id in (mina.id, str(uuid4()))
            ]
            assert answers[0][0] == 404, (method, tag)
            assert answers[0] == answers[1], (method, tag)


def test_an_unfit_body_does_not_tell_that_another_is_there(mina: Person, ken: Person) -> None:
    answers = [
        _seen(ken.call("PATCH", f"/v1/users/{user_id}", {"username": 1}))
        for user_id in (mina.id, str(uuid4()))
    ]
    assert answers[0][0] == 404
    assert answers[0] == answers[1]


def _seen(response: TestResponse) -> tuple[int, dict[str, Any], list[tuple[str, str]]]:
    """Return all that a caller sees of an answer, less the request's id."""
    body = copy.copy(response.get_json(force=True))
    UUID(body.pop("request_id"))
    headers = [(name, value) for name, value in response.headers if name != "X-Request-Id"]
    return response.status_code, body, headers


# Deny by default


class _Bare(Resource):
    def get(self) -> dict[str, str]:
        return {"open": "to everybody"}


def test_a_resource_without_an_operation_does_not_start(make_offline: MakeOffline) -> None:
    app = make_offline()
    feature = Feature(name="bare", summary="Says nothing of who may call it.", resources=(("/bare", _Bare),))
    with pytest.raises(TypeError, match="who may call it"):
        feature.init_app(app)


# Helpers


class _Stalled(io.RawIOBase):
    """A body that the server gives up to wait for."""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        raise RequestTimeout()


def _send(person: Person, op: Op, body: bytes, content_type: str | None = "application/json") -> TestResponse:
    """Send bytes as the body of an operation on oneself."""
    return person.client.open(
        op.path(), method=op.method, data=body, content_type=content_type, headers=person.bearer
    )


def _send_stream(person: Person, op: Op, stream: Any) -> TestResponse:
    """Send a stream in chunks as the body of an operation on oneself."""
    overrides = {
        "wsgi.input": stream,
        "wsgi.input_terminated": True,
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": "",
        "HTTP_TRANSFER_ENCODING": "chunked",
    }
    return _call(person.client, op, person.bearer, environ_overrides=overrides)


def _pointers(person: Person, op: Op, body: dict[str, Any], secret: set[str] | None = None) -> list[str]:
    """Return the pointers of the 422 that a body gets; nothing of `secret` may come back."""
    response = _send(person, op, json.dumps(body).encode())
    assert _wrong(response, 422, "validation_failed") is None, f"{op.id}: {response.text[:500]}"
    assert not [text for text in secret or () if text in response.text], f"{op.id}: {response.text[:500]}"
    return [error["pointer"] for error in response.get_json(force=True)["errors"]]


def _texts(value: Any) -> Iterator[str]:
    """Yield every string value in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
