"""Compare HTTP servers for one Flask application: cost, slow clients, stopping, large bodies.

    python -m benchmarks.servers                  every candidate, about seven minutes
    python -m benchmarks.servers --only bridge --rounds 1 --seconds 8

Each candidate runs in one process pinned on one core, the clients on another. Its cost is the CPU
time, user and system, of all its processes per request, with 8 keep-alive connections; the median
of the rounds, which are interleaved in random order. Then, once each:
200 clients that send one byte of a body a second, 200 that do so with headers, SIGTERM with six
requests in flight, and 1 MiB in chunks for an operation that takes 64 KiB. Only this machine is
loaded, and only processes started here are ended. Progress goes to stderr, a table to stdout. Failures are
counted, and end no run; the exit code is 1 if the bridge, the server of Tessera, failed.
"""

import argparse
import importlib.util
import math
import os
import random
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.client import PATIENCE, Repeat, http_request
from benchmarks.crowds import SLOW, slowly, visits, with_patience
from benchmarks.failures import Failures
from benchmarks.measuring import (
    Server,
    markdown,
    measure,
    percentile,
    report,
    running,
    two_cores,
)

CONNECTIONS = 8
BODY_LIMIT = 65_536
IN_FLIGHT = 6

PROFILE = b'{"id":"018f","email":"user@example.com","roles":["user"]}'
DOCUMENT = b'{"a":1,"email":"user@example.com"}'
EXCHANGES = {
    "GET": Repeat(http_request("GET", "/me"), 200, PROFILE),
    "POST": Repeat(http_request("POST", "/echo", body=DOCUMENT), 200, DOCUMENT),
}


def make_app() -> Any:
    """Return the Flask application that every candidate serves."""
    from flask import Flask, Response, request

    app = Flask(__name__)

    @app.get("/me")
    def me() -> Response:
        return Response(PROFILE, mimetype="application/json")

    @app.post("/echo")
    def echo() -> Any:
        return request.get_json()

    @app.post("/limited")
    def limited() -> tuple[str, int]:
        size = len(request.environ["wsgi.input"].read(BODY_LIMIT + 1))
        return str(size), 413 if size > BODY_LIMIT else 200

    @app.get("/slow")
    def slow() -> str:
        time.sleep(1)
        return "slow"

    return app


@dataclass
class Candidate:
    """A server to measure: `needs` is the package it is in, `command` takes the port as {port}."""

    name: str
    needs: str
    command: list[str]
    cost: dict[str, list[float]] = field(default_factory=lambda: {"GET": [], "POST": []})
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    failed: int = 0  # requests of the cost measurement

    @property
    def is_ours(self) -> bool:
        """Whether it is the server of Tessera."""
        return self.name.startswith("bridge")

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.needs) is not None


def candidates(body_timeout: float) -> list[Candidate]:
    """Return all candidates; only the bridge has a `body_timeout`, in seconds."""
    bridge = (
        "from api.kit.server import serve; "
        f"serve('benchmarks.servers:make_app', port={{port}}, body_timeout={body_timeout})"
    )
    found = [Candidate("bridge, 16 threads", "granian", ["-c", bridge])]
    for threads in (16, 64, 256):
        options = f"--interface wsgi --factory --blocking-threads {threads} --port {{port}} --no-ws"
        options += " --http1-header-read-timeout 5000 --workers-kill-timeout 25 --log-level error"
        name = f"granian WSGI, {threads} threads"
        command = ["-m", "granian", *options.split(), "benchmarks.servers:make_app"]
        found.append(Candidate(name, "granian", command))
    for worker, size in (("gthread", "--threads 16"), ("gevent", "--worker-connections 1000")):
        options = f"-k {worker} {size} -b 127.0.0.1:{{port}} --keep-alive 75 --no-control-socket"
        options += " --log-level error"
        command = ["-m", "gunicorn", *options.split(), "benchmarks.servers:make_app()"]
        needs = "gevent" if worker == "gevent" else "gunicorn"
        found.append(Candidate(f"gunicorn {worker}", needs, command))
    options = "--listen=127.0.0.1:{port} --threads=16 --connection-limit=1000 --call"
    command = ["-m", "waitress", *options.split(), "benchmarks.servers:make_app"]
    found.append(Candidate("waitress", "waitress", command))
    return found


def started(candidate: Candidate, core: int) -> AbstractContextManager[Server]:
    """Run a candidate, pinned on a core."""
    return running(candidate.command, os.environ | {"PYTHONPATH": "."}, core, ready="/me")


def measure_cost(candidate: Candidate, core: int, seconds: float, failures: Failures, what: str) -> None:
    """Measure one round: GET, then POST, each after a short warming-up."""
    before = len(failures.found)
    with (
        failures.recorded(candidate.name, what, is_ours=candidate.is_ours),
        started(candidate, core) as server,
    ):
        for method, costs in candidate.cost.items():
            with failures.recorded(candidate.name, f"{method}, {what}", is_ours=candidate.is_ours):
                sample = measure(server, [EXCHANGES[method]] * CONNECTIONS, seconds)
                failures.add(candidate.name, f"{method}, {what}", sample.outcome, is_ours=candidate.is_ours)
                if sample.outcome.is_valid:
                    costs.append(sample.microseconds)
                    if method == "GET":
                        candidate.p50.append(sample.percentile(0.5))
                        candidate.p99.append(sample.percentile(0.99))
    candidate.failed += sum(failure.failed for failure in failures.found[before:])


def slow_clients(server: Server, opening: bytes, seconds: float, count: int) -> str:
    """Have slow clients send `opening`, then a byte a second; return how an honest GET fares."""
    with slowly(server, opening, count) as cut:
        p95 = percentile(with_patience(visits(server, "/me", seconds)), 0.95)
    honest = "blocked" if p95 >= PATIENCE else f"{p95 * 1000:.0f} ms"
    when = f"cut after {statistics.median(cut):.0f} s" if cut else "none cut"
    return f"{honest}; {when}"


def stop_in_flight(server: Server) -> str:
    """Send SIGTERM while IN_FLIGHT requests run; return how many are answered and the exit code."""
    statuses: list[int | None] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(server.get("/slow"))) for _ in range(IN_FLIGHT)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    server.process.terminate()
    for thread in threads:
        thread.join()
    try:
        code: object = server.process.wait(30)
    except subprocess.TimeoutExpired:
        code = "none in 30 s"
    return f"{statuses.count(200)} of {IN_FLIGHT}, exit {code}"


def too_large(server: Server) -> str:
    """Send 1 MiB in chunks for an operation that takes 64 KiB; return what the client meets."""
    chunk = b"%x\r\n%b\r\n" % (8192, b"a" * 8192)
    sent = "all sent"
    with server.connect() as client:
        try:
            head = b"POST /limited HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.sendall(head)
            for _ in range(128):
                client.sendall(chunk)
                time.sleep(0.001)
            client.sendall(b"0\r\n\r\n")
        except ConnectionError:
            sent = "cut while sending"
        try:
            answer = client.recv(4096)[9:12].decode() or "no answer"
        except OSError:
            answer = "no answer"
    return f"{answer}, {sent}"


def measure_hostile(candidate: Candidate, core: int, seconds: float, count: int, failures: Failures) -> None:
    """Measure all but the cost, each on a new process, with `count` slow clients."""
    body = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    body += b"Content-Length: 1000\r\n\r\n{"
    header = b"GET /me HTTP/1.1\r\nX: a"
    steps: dict[str, Callable[[Server], str]] = {
        "slow bodies": lambda server: slow_clients(server, body, seconds, count),
        "slow headers": lambda server: slow_clients(server, header, seconds, count),
        "SIGTERM": stop_in_flight,
        "too large": too_large,
    }
    for name, step in steps.items():
        candidate.notes[name] = "failed"
        recorded = failures.recorded(candidate.name, name, is_ours=candidate.is_ours)
        with recorded, started(candidate, core) as server:
            candidate.notes[name] = step(server)
            report(f"{candidate.name}: {name}: {candidate.notes[name]}")


def table(found: list[Candidate]) -> str:
    """Return the results in Markdown, the cheapest candidate first."""
    notes = ["slow bodies", "slow headers", "SIGTERM", "too large"]
    rows = []
    for one in sorted((one for one in found if one.installed), key=_cost_of_get):
        costs = [_median(costs, ".0f") for costs in one.cost.values()]
        times = [_median(values, ".1f") for values in (one.p50, one.p99)]
        rows.append([one.name, *costs, *times, f"{one.failed}", *(one.notes[note] for note in notes)])
    rows += [[one.name, "not installed", *[""] * 8] for one in found if not one.installed]
    head = ["server", "GET us", "POST us", "p50 ms", "p99 ms", "failed", *notes]
    return markdown("lrrrrrllll", head, rows)


def _cost_of_get(candidate: Candidate) -> float:
    return statistics.median(candidate.cost["GET"]) if candidate.cost["GET"] else math.inf


def _median(values: Sequence[float], form: str) -> str:
    return format(statistics.median(values), form) if values else "not valid"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.servers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", default="", metavar="NAME", help="measure the candidates whose name contains this (all)")
    add("--rounds", type=int, default=3, help="rounds of the cost measurement (%(default)s)")
    add("--load-seconds", type=float, default=2.0, help="seconds of load for each round (%(default)s)")
    add("--seconds", type=float, default=15.0, help="seconds with slow clients (%(default)s)")
    add("--slow", type=int, default=SLOW, help="slow clients (%(default)s)")
    add(
        "--body-timeout",
        type=float,
        default=10.0,
        help="seconds after which the bridge cuts a slow body (%(default)s)",
    )
    options = parser.parse_args()
    server_core, client_core = two_cores()
    os.sched_setaffinity(0, {client_core})
    found = [one for one in candidates(options.body_timeout) if options.only in one.name]
    if not found:
        parser.error(f"no candidate has {options.only!r} in its name")
    present = [one for one in found if one.installed]
    failures = Failures()
    for number in range(options.rounds):
        what = f"round {number + 1} of {options.rounds}"
        for candidate in random.sample(present, len(present)):
            report(f"{what}: {candidate.name}")
            measure_cost(candidate, server_core, options.load_seconds, failures, what)
    for candidate in present:
        measure_hostile(candidate, server_core, options.seconds, options.slow, failures)
    print(table(found))
    failures.finish()


if __name__ == "__main__":
    main()
