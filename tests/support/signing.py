"""Signing keys: the one of a service, and new ones that it does not know."""

from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask

from api.sessions.keys import Key, keyring, thumbprint


def signing_key(app: Flask) -> Key:
    """Return the key that signs an app's tokens now."""
    with app.app_context():
        return keyring().signing()


def foreign_key() -> Key:
    """Return a key that no service has."""
    private = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    return Key(1, thumbprint(private.public_key()), private, private.public_key(), now, now, None)
