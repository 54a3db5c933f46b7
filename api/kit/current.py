"""The current app and request, past Flask's proxies: an attribute of one costs several times as much."""

from typing import Any, cast

from flask import Flask, Request, current_app, request
from werkzeug.local import LocalProxy

_request = cast("LocalProxy[Request]", request)
_app = cast("LocalProxy[Flask]", current_app)


def wsgi_environ() -> dict[str, Any]:
    """Return the current request's WSGI environment."""
    return _request._get_current_object().environ


def extensions() -> dict[str, Any]:
    """Return what the current app was extended with, by name."""
    return _app._get_current_object().extensions
