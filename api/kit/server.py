"""The HTTP server: granian, each of whose processes bridges RSGI to a WSGI application."""

import ctypes
import gc
import importlib
import multiprocessing
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
from granian.http import HTTP1Settings
from granian.log import LogLevels

from api.kit.bridge import Bridge, WSGIApp
from api.kit.cors import NOBODY, Cors
from api.kit.signals import ignore_stop_signals

PR_SET_PDEATHSIG = 1  # of prctl(2)
CONNECTIONS = 4096  # that one process has at once, at most: each may make it keep a body
OWN_DESCRIPTORS = 128  # that one process needs beside those connections, and two more for each thread


def load(target: str, threads: int, body_limit: int, body_timeout: float, cors: Cors) -> Bridge:
    """Import `target` ("package.module:factory"), call it and bridge what it returns."""
    _end_with_parent()
    module, _, name = target.partition(":")
    factory = cast("Callable[[], WSGIApp]", getattr(importlib.import_module(module), name))
    return Bridge(factory(), threads, body_limit, body_timeout, cors)


def claim(host: str, port: int) -> str:
    """Return the address of a host, once it is clear that this port of it is free.

    granian lets processes share a port: two services would then get each other's requests. (Two that
    start in the same instant are not told apart.) Raises OSError when the host is not of this
    machine, or the port is in use; UnicodeError when it is no host.
    """
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
    return str(address[0])


def _room(threads: int) -> int:
    """Return how many connections one process may take; who comes later waits until another leaves.

    Without a descriptor left it could neither read its database nor hash, and granian would try over and
    over to take the next connection. (granian raises the soft limit to the hard one.)
    """
    _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return CONNECTIONS
    return max(1, min(CONNECTIONS, descriptors - OWN_DESCRIPTORS - 2 * threads))


def _end_forks_by_signal() -> None:
    """Let SIGTERM end a fork from its first instruction on, until granian heeds it there.

    Before, the handler of the parent would take it, of which the child is a copy, and nothing would end.
    """
    ending = {signal.SIGTERM}

    def in_child() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)

    os.register_at_fork(
        before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, ending),
        after_in_child=in_child,
        after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, ending),
    )


def _end_with_parent() -> None:
    """Let this process end when its parent dies, which else leaves it serving (Linux).

    At once: a parent that is told to end waits for its children, so this one was killed. And granian can hang
    on a signal that comes just before it serves, with nobody left who would see that.
    """
    parent = multiprocessing.parent_process()
    if sys.platform == "linux" and parent is not None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:  # it died before
            sys.exit(1)


def serve(
    target: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    threads: int = 16,
    body_limit: int = 65_536,
    body_timeout: float = 30.0,
    header_timeout: float = 5.0,
    header_limit: int = 16_384,
    stop_timeout: int = 25,
    cors: Cors = NOBODY,
) -> None:
    """Serve HTTP/1.1 until SIGTERM or SIGINT, then let what is in flight finish and return.

    Further signals to stop are ignored then, because the process is about to exit.

    `target` names a factory of the WSGI application, "package.module:factory"; each of the
    `workers` processes calls it once and runs it in `threads` threads. Limits are in bytes,
    timeouts in seconds; after `stop_timeout` a worker that still has requests is killed. `cors` says
    whose pages may read the refusals that the application has no part in.
    """
    server = Granian(
        target,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        workers=workers,
        runtime_threads=1,
        runtime_mode=RuntimeModes.st,
        loop=Loops.asyncio,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(header_timeout * 1000), max_buffer_size=header_limit
        ),
        websockets=False,
        backpressure=_room(threads),
        log_level=LogLevels.warning,
        log_access=False,
        respawn_failed_workers=True,
        workers_kill_timeout=stop_timeout,
    )
    loader: Callable[..., Any] = partial(
        load, target, threads=threads, body_limit=body_limit, body_timeout=body_timeout, cors=cors
    )
    _end_forks_by_signal()
    gc.collect()
    gc.freeze()  # what the processes share stays shared: looking for garbage writes to all that it looks at
    try:
        server.serve(target_loader=loader, wrap_loader=False)
    finally:
        ignore_stop_signals()
