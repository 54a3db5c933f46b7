"""Show where the time of `GET /v1/users/me` goes: a ladder of running things, layer by layer.

    python -m benchmarks.layers                          about four minutes
    python -m benchmarks.layers --rounds 1 --seconds 1   a look

Each rung adds one layer to the one before, from a bare WSGI callable to the whole request on SQLite,
and every rung is served and measured in the same way, as `benchmarks.performance` does: one process on
one core, 8 keep-alive connections on another, interleaved rounds. A rung's cost is that of its least
disturbed round: the difference of two medians would be mostly what else the machine did. A second
table holds single steps, measured inside this process by one thread; under load, where threads wait
for each other, the same steps cost more. Progress goes to stderr, the tables to stdout. Failures are counted,
and end no run; with any the exit code is 1.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from flask import Flask, Response
from flask_restful import Resource

from api.app import create_app
from api.kit import work
from api.kit.feature import Feature
from api.kit.http import Api, init_http, json_response
from api.kit.identity import PUBLIC, SIGNED_IN, OwnerOr, bearer_credential, caller
from api.kit.logs import configure_logs, init_logs
from api.kit.operation import operation
from api.sessions import service as sessions
from api.sessions import tokens
from api.sessions.keys import keyring
from api.users import service as users
from api.users import signing_up
from api.users.models import User
from benchmarks import tessera
from benchmarks.client import Repeat, http_request
from benchmarks.failures import Failed, Failures, WrongAnswer
from benchmarks.measuring import (
    Server,
    markdown,
    measure,
    report,
    running,
    two_cores,
)
from benchmarks.peers.apps.common import PASSWORD
from benchmarks.systems import bearer, sign_in
from benchmarks.tessera import TESSERA
from schemas.base import NoParameters
from schemas.health import HealthAnswer
from schemas.users import UserAnswer, UserPath

CONNECTIONS = 8
CALLS = 2000  # of a single step, between two looks at the clock
OK = {"status": "ok"}
OK_JSON = b'{"status":"ok"}'


class Ok(Resource):
    """A resource of Flask-RESTful that answers as operations do."""

    def get(self) -> Response:
        return json_response(OK, 200, {})


class Verified(Resource):
    """What verifies the access token, and asks no database about it."""

    @operation("rungVerified", access=PUBLIC, answer=(200, HealthAnswer()), database=False)
    def get(self) -> dict[str, str]:
        """Verify the access token."""
        tokens.read_access_token(bearer_credential())
        return OK


class Authenticated(Resource):
    """What asks as well whether session and user are live."""

    @operation("rungAuthenticated", access=SIGNED_IN, answer=(200, HealthAnswer()))
    def get(self) -> dict[str, str]:
        """Know who calls."""
        return OK


class Status(Resource):
    """The user with a path, an access rule and an entity tag, and one member in the answer."""

    @operation(
        "rungStatus",
        access=OwnerOr("users:read"),
        path=UserPath(),
        answer=(200, HealthAnswer()),
        etag=users.etag,
    )
    def get(self, user_id: UUID) -> Any:
        """Get the status of a user."""
        return caller().record


RUNGS = Feature(
    name="rungs",
    summary="The rungs between `GET /health/live` and `GET /v1/users/me`.",
    resources=(
        ("/rungs/verified", Verified),
        ("/rungs/authenticated", Authenticated),
        ("/rungs/users/<user_id>", Status),
    ),
)


def make_wsgi() -> Any:
    """Return a WSGI callable that knows no framework."""
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(OK_JSON)))]

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return [OK_JSON]

    return answer


def make_flask() -> Flask:
    """Return a Flask application with one route and nothing else."""
    app = Flask("rung")

    @app.get("/ok")
    def ok() -> Response:
        return Response(OK_JSON, mimetype="application/json")

    return app


def make_resource() -> Flask:
    """Return the same by our `Api` and a resource."""
    app = Flask("rung")
    Api(app).add_resource(Ok, "/ok")
    return app


def make_http() -> Flask:
    """Return the same with what `init_http` adds."""
    app = Flask("rung")
    init_http(app)
    Api(app).add_resource(Ok, "/ok")
    return app


def make_logged() -> Flask:
    """Return the same with a log line for each request."""
    configure_logs()
    app = Flask("rung")
    init_logs(app)
    init_http(app)
    Api(app).add_resource(Ok, "/ok")
    return app


def make_tessera() -> Flask:
    """Return Tessera with the rungs as one more feature."""
    configure_logs()
    app = create_app()
    RUNGS.init_app(app)
    return app


@dataclass
class Rung:
    """A running thing, what it has more than the one before, and what each round found."""

    name: str
    server: Server
    exchange: Repeat
    costs: list[float] = field(default_factory=list)

    @property
    def cost(self) -> float | None:
        """The microseconds a request of the least disturbed round; None if no round is valid."""
        return min(self.costs, default=None)

    def run(self, seconds: float, failures: Failures, what: str) -> None:
        """Measure one round."""
        with failures.recorded(self.name, what):
            sample = measure(self.server, [self.exchange] * CONNECTIONS, seconds)
            failures.add(self.name, what, sample.outcome)
            report(f"{what}: {self.name}: {sample.microseconds:,.0f} us")
            if sample.outcome.is_valid:
                self.costs.append(sample.microseconds)


SMALL = {
    "make_wsgi": "a WSGI callable on the bridge",
    "make_flask": "+ Flask: routing, request, response, contexts",
    "make_resource": "+ our `Api`, a Flask-RESTful resource, JSON",
    "make_http": "+ `kit/http.py`: Host check, request id, headers",
    "make_logged": "+ `kit/logs.py`: one JSON line",
}
LARGE = {
    "/health/live": "+ `@operation` = `GET /health/live`",
    "/rungs/verified": "+ the access token verified",
    "/rungs/authenticated": "+ session and user asked for, in one query",
    "/rungs/users/me": "+ path, access rule, entity tag",
    "/v1/users/me": "+ the dump of 13 members = `GET /v1/users/me`",
}


@contextmanager
def ladder(folder: Path, core: int) -> Iterator[list[Rung]]:
    """Start every rung, from the lowest one up."""
    with ExitStack() as stack:
        rungs = []
        for factory, name in SMALL.items():
            server = stack.enter_context(_serving(factory, {"PATH": os.environ["PATH"]}, core, "/ok"))
            rungs.append(Rung(name, server, Repeat(http_request("GET", "/ok"), 200, OK_JSON)))
        environ = tessera.environment(folder)
        tessera.migrate(environ)
        server = stack.enter_context(_serving("make_tessera", environ, core, "/health/ready"))
        headers = _signed_in(server)
        yield rungs + [_large(name, server, path, headers) for path, name in LARGE.items()]


def _serving(factory: str, environ: dict[str, str], core: int, ready: str) -> Any:
    report(f"starting {factory}")
    code = f"from api.kit.server import serve; serve('benchmarks.layers:{factory}', port={{port}})"
    return running(("-c", code), environ, core, ready=ready)


def _signed_in(server: Server) -> dict[str, str]:
    tessera.sign_up(server, [1])
    return bearer(sign_in(server, TESSERA, 1).access)


def _large(name: str, server: Server, path: str, headers: dict[str, str]) -> Rung:
    """Return a rung that Tessera itself serves; only those that look at a token are sent one."""
    headers = {} if path == "/health/live" else headers
    reply = server.call("GET", path, headers=headers)
    if reply.status != 200:
        raise WrongAnswer(f"GET {path}: {reply}")
    return Rung(name, server, Repeat(http_request("GET", path, headers), 200, reply.body.strip()))


def rungs_table(rungs: list[Rung]) -> str:
    """Return the ladder in Markdown; a rung without a valid round has no figures."""
    whole, rows, before = rungs[-1].cost, [], 0.0
    for rung in rungs:
        if rung.cost is None:
            rows.append([rung.name, "not valid", "", ""])
            continue
        adds = rung.cost - before
        part = "" if whole is None else f"{adds / whole:.0%}"
        rows.append([rung.name, f"{rung.cost:,.0f}", f"{adds:,.0f}", part])
        before = rung.cost
    return markdown("lrrr", ("rung", "us", "adds us", "of the whole"), rows)


def steps(environ: dict[str, str], log: Path, calls: int) -> dict[str, float]:
    """Return the CPU microseconds of single steps, by name.

    They run inside a request that comes through the whole application: what they call relies on what it
    prepares for each request, such as the request id.
    """
    found: dict[str, float] = {}

    def measure_steps() -> str:
        user, token = _user_and_token()
        found.update((name, timed(step, calls)) for name, step in _steps(user, token).items())
        return ""

    with log.open("w") as lines, redirect_stderr(lines):
        configure_logs()
        app = create_app(environ)
        app.add_url_rule("/steps", view_func=measure_steps)
        answer = app.test_client().get("/steps")
    if answer.status_code != 200:
        raise Failed(f"single steps: status {answer.status_code}: {answer.text} {log.read_text()[-2000:]}")
    return found


def _user_and_token() -> tuple[User, str]:
    with work.writing():
        user = signing_up.sign_up(password=PASSWORD, username="step", email="step@example.com")
    with work.writing():
        device = sessions.Device("127.0.0.1", None)
        return user, sessions.sign_in("step", PASSWORD, None, device)["access_token"]


def _steps(user: User, token: str) -> dict[str, Callable[[], object]]:
    log = structlog.get_logger("benchmark")
    dump, none, path = UserAnswer(), NoParameters(), UserPath()
    return {
        "an ES256 signature, by the bare library": _signature(token),
        "`read_access_token`: the signature, Flask-JWT-Extended, the claims": (
            lambda: tokens.read_access_token(token)
        ),
        "a unit of work that reads nothing": _read_nothing,
        "`authenticate`: `read_access_token` and the query": lambda: _authenticate(token),
        "the query's parameters: `NoParameters().load({})`": lambda: none.load({}),
        "the path: `UserPath().load(...)`": lambda: path.load({"user_id": "me"}),
        "the dump: `UserAnswer().dump(user)`": lambda: dump.dump(user),
        "a log line, to a file": lambda: log.info("request", status=200, user_id=str(user.id)),
    }


def _signature(token: str) -> Callable[[], object]:
    """Return what verifies a token's signature and nothing else."""
    signed, _, signature = token.rpartition(".")
    raw = jwt.utils.base64url_decode(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    key, algorithm = keyring().signing().public, ec.ECDSA(SHA256())
    return lambda: key.verify(der, signed.encode(), algorithm)


def _read_nothing() -> None:
    with work.reading():
        pass


def _authenticate(token: str) -> None:
    with work.reading():
        sessions.authenticate(token)


def timed(step: Callable[[], object], calls: int) -> float:
    """Return the CPU microseconds of one call: the median of five series of `calls`."""
    series = []
    for _ in range(6):
        began = time.process_time_ns()
        for _ in range(calls):
            step()
        series.append((time.process_time_ns() - began) / calls / 1000)
    return statistics.median(series[1:])  # the first is the warming-up


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.layers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rounds", type=int, default=7, help="rounds of all rungs, in random order (%(default)s)")
    add("--seconds", type=float, default=2.0, help="seconds of load for each round and rung (%(default)s)")
    add("--calls", type=int, default=CALLS, help="calls of a step in each of its six series (%(default)s)")
    options = parser.parse_args()
    server_core, client_core = two_cores()
    os.sched_setaffinity(0, {client_core})
    failures = Failures()
    with tempfile.TemporaryDirectory() as folder:
        with ladder(Path(folder), server_core) as rungs:
            for number in range(options.rounds):
                for rung in random.sample(rungs, len(rungs)):
                    rung.run(options.seconds, failures, f"round {number + 1} of {options.rounds}")
        print(rungs_table(rungs), end="\n\n")
        report("measuring single steps")
        environ = tessera.environment(Path(folder)) | {"TESSERA_PORT": "8000"}
        found: dict[str, float] = {}
        with failures.recorded("Tessera", "single steps"):
            found = steps(environ, Path(folder) / "log", options.calls)
    print(markdown("lr", ("step", "us"), [[name, f"{cost:,.1f}"] for name, cost in found.items()]))
    failures.finish()


if __name__ == "__main__":
    main()
