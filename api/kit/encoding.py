"""base64url without padding (RFC 4648 section 5), with one spelling for each value."""

from base64 import urlsafe_b64decode, urlsafe_b64encode


def encode(value: bytes) -> str:
    return urlsafe_b64encode(value).decode().rstrip("=")


def decode(text: str) -> bytes:
    """Return what `encode` gave the text for; raises ValueError for any other spelling."""
    value = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(value) != text:
        raise ValueError("not the canonical spelling")
    return value
