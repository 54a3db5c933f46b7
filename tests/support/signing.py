"""Signing keys: the one of a service, and new ones that it does not know."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask

from api.sessions import keys
from api.sessions.keys import Key, keyring, thumbprint
from tests.support.clients import client_of


def signing_key(app: Flask) -> Key:
    """Return the key that signs an app's tokens now."""
    with app.app_context():
        return keyring().signing()


def foreign_key() -> Key:
    """Return a key that no service has."""
    private = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    return Key(1, thumbprint(private.public_key()), private, private.public_key(), now, now, None)


def kid_of(token: str) -> str:
    """Return the id of the key that signed a token, as the token says it."""
    return str(jwt.get_unverified_header(token)["kid"])


def stored_keys(app: Flask) -> list[Any]:
    """Return the rows of the signing keys, the newest first."""
    with app.app_context():
        return list(keys.stored())


def published_kids(app: Flask) -> list[str]:
    """Return the ids in the key set that an app publishes, the newest first."""
    answer = client_of(app).get("/.well-known/jwks.json")
    assert answer.status_code == 200, answer.text
    return [key["kid"] for key in answer.get_json()["keys"]]


def rotate(app: Flask) -> str:
    """Publish a new key, and return its id."""
    with app.app_context():
        keys.rotate()
    return str(stored_keys(app)[0].kid)


def retire(app: Flask, kid: str) -> bool:
    with app.app_context():
        return keys.retire(kid)


def readable_forms(key: ec.EllipticCurvePrivateKey) -> Iterator[bytes]:
    """Yield what a private key looks like where it is not sealed."""
    number = key.private_numbers().private_value.to_bytes(32)
    plain = serialization.NoEncryption()
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, plain)
    yield from (b"PRIVATE KEY", number, number.hex().encode(), der)
    for content in (number, der):
        yield from (base64.b64encode(content), base64.urlsafe_b64encode(content).rstrip(b"="))
