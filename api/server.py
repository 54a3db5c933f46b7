"""What each server process runs."""

from multiprocessing.util import Finalize
from threading import Thread

from flask import Flask

from api.app import create_app
from api.kit.config import WORKER
from api.kit.logs import configure_logs
from api.kit.outbox import LEASE_SECONDS, Courier


def make_wsgi_app() -> Flask:
    """Return a WSGI application of its own for one server process."""
    configure_logs()
    app = create_app()
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
