"""What each server process runs."""

from functools import cache
from multiprocessing.util import Finalize
from threading import Thread

from flask import Flask

from api.app import create_app
from api.kit.config import WORKER
from api.kit.logs import configure_logs
from api.kit.outbox import LEASE_SECONDS, Courier


@cache
def application() -> Flask:
    """Return the application of this process, or of that which it was forked from: they share its memory.

    Until it is asked something it has no connection and no thread, which could not be shared.
    """
    return create_app()


def make_wsgi_app() -> Flask:
    """Return the WSGI application of one server process, and begin what it does beside the requests."""
    configure_logs()
    app = application()
    if app.extensions["tessera"].settings[WORKER] == "inside":
        _deliver(app.extensions["tessera.courier"])
    return app


def _deliver(courier: Courier) -> None:
    """Deliver what is owed beside the requests; the process ends with the delivery at hand done."""
    thread = Thread(target=courier.run, name="courier", daemon=True)
    thread.start()

    def stop() -> None:
        courier.stop()
        thread.join(LEASE_SECONDS)

    Finalize(None, stop, exitpriority=0)  # a process that multiprocessing started runs nothing of atexit
