"""What each server process runs."""

from flask import Flask

from api.app import create_app
from api.kit.logs import configure_logs


def make_wsgi_app() -> Flask:
    """Return a WSGI application of its own for one server process."""
    configure_logs()
    return create_app()
