"""The peers: what each is, what it is installed from, and how it is started."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.measuring import ROOT
from benchmarks.peers import dialects
from benchmarks.peers.apps.common import PASSWORD, USERS
from benchmarks.postgresql import URL, connect, url_of, watched
from benchmarks.systems import Dialect, System

APPS = Path(__file__).parent / "apps"
HOME = Path(os.environ.get("PEERS_HOME", ROOT / ".peers")).resolve()
GUNICORN = (
    *("-k", "gthread", "-w", "1", "--threads", "8", "-b", "127.0.0.1:{port}"),
    *("--keep-alive", "75", "--log-level", "warning"),
)
GRANIAN = (
    *("--interface", "wsgi", "--workers", "1", "--blocking-threads", "8"),
    *("--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"),
)
UVICORN = (
    *("--host", "127.0.0.1", "--port", "{port}", "--workers", "1"),
    *("--no-access-log", "--timeout-keep-alive", "75", "--log-level", "warning"),
)
SHOW_VERSION = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
BOTH = ("SQLite", "PostgreSQL")


@dataclass(frozen=True)
class Peer:
    """Something that people use instead.

    `packages` are those of PyPI, the one whose version counts first; a peer without them is of npm, with
    a `package.json` in its folder `source` of the apps. `seed` is run once for each storage.
    """

    name: str
    dialect: Dialect
    program: str
    command: tuple[str, ...]
    seed: tuple[str, ...]
    packages: tuple[str, ...] = ()
    source: str = ""
    storages: tuple[str, ...] = BOTH
    variables: tuple[tuple[str, str], ...] = ()
    hash: str = "argon2id"

    @property
    def folder(self) -> Path:
        """Where it is installed."""
        return HOME / self.name.replace(" ", "-")

    def program_path(self, name: str) -> str:
        """Return what runs a command of this peer."""
        return str(self.folder / "venv" / "bin" / name) if self.packages else name

    def database_name(self) -> str:
        """Return the name of its database on PostgreSQL."""
        return f"tessera_peer_{self.name.replace('-', '_').lower()}"

    def database_url(self, storage: str) -> str:
        """Return the URL of its database."""
        if storage == "PostgreSQL":
            return url_of(self.database_name())
        return f"sqlite:///{self.folder / 'peer.db'}"

    def environ(self, storage: str) -> Mapping[str, str]:
        """Return the variables of its processes."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(APPS),
            "NODE_ENV": "production",
            "PORT": "{port}",
            "PEER_DATABASE": self.database_url(storage),
            "PEER_PASSWORD": PASSWORD,
            "PEER_USERS": str(USERS),
            **dict(self.variables),
        }

    def is_filled(self, storage: str) -> bool:
        """Tell whether its database is there."""
        if storage == "SQLite":
            return (self.folder / "peer.db").exists()
        try:
            with connect(URL) as server:
                query = "SELECT 1 FROM pg_database WHERE datname = %s"
                return server.execute(query, [self.database_name()]).fetchone() is not None
        except psycopg.OperationalError:
            return False

    def version(self) -> str:
        """Return the version that is installed."""
        if self.packages:
            package = self.packages[0].partition("[")[0]
            command = [self.program_path("python"), "-c", SHOW_VERSION, package]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        manifest = self.folder / "node_modules" / self.name / "package.json"
        return str(json.loads(manifest.read_text())["version"])

    @contextmanager
    def systems(self) -> Iterator[list[System]]:
        """Yield what can be measured of it: nothing unless `make bench-peers` has installed it."""
        with ExitStack() as stack:
            found = []
            for storage in self.storages:
                if not self.folder.exists() or (storage and not self.is_filled(storage)):
                    continue
                on_server = storage == "PostgreSQL"
                database = stack.enter_context(watched(self.database_url(storage))) if on_server else None
                found.append(
                    System(
                        self.name,
                        storage,
                        self.dialect,
                        self.command,
                        self.environ(storage),
                        ready=self.dialect.profile_path,
                        database=database,
                        program=self.program_path(self.program),
                        folder=self.folder,
                        hash=self.hash,
                    )
                )
            yield found


def _django(name: str, dialect: Dialect, *packages: str) -> Peer:
    return Peer(
        name,
        dialect,
        "gunicorn",
        (*GUNICORN, "django.core.wsgi:get_wsgi_application()"),
        ("python", str(APPS / "django_seed.py")),
        (*packages, "argon2-cffi", "psycopg[binary]", "gunicorn", "gunicorn_h1c"),
        variables=(("DJANGO_SETTINGS_MODULE", f"{name}_settings"),),
    )


def _floor(server: str, *command: str) -> Peer:
    packages = ("Flask", server, "gunicorn_h1c")[: 3 if server == "gunicorn" else 2]
    return Peer(
        f"Flask on {server}",
        dialects.BareRoute(),
        server,
        (*command, "bare_flask:app"),
        (),
        packages,
        storages=("",),
        hash="",
    )


PEERS = (
    Peer(
        "fastapi-users",
        dialects.FastapiUsers(),
        "uvicorn",
        (*UVICORN, "fastapi_users_app:app"),
        ("python", str(APPS / "fastapi_users_app.py")),
        ("fastapi-users[sqlalchemy]", "uvicorn[standard]", "aiosqlite", "asyncpg", "argon2-cffi"),
    ),
    Peer(
        "Flask-Security",
        dialects.FlaskSecurity(),
        "gunicorn",
        (*GUNICORN, "flask_security_app:app"),
        ("python", str(APPS / "flask_security_app.py")),
        (
            *("Flask-Security-Too[fsqla,common]", "Flask-SQLAlchemy", "argon2-cffi", "psycopg[binary]"),
            *("gunicorn", "gunicorn_h1c"),
        ),
    ),
    _django("djoser", dialects.Djoser(), "djoser", "djangorestframework-simplejwt"),
    _django("allauth", dialects.Allauth(), "django-allauth[headless]", "PyJWT[crypto]"),
    Peer(
        "better-auth",
        dialects.BetterAuth(),
        "node",
        ("server.mjs",),
        ("node", "seed.mjs"),
        source="better_auth",
        hash="scrypt",
    ),
    Peer(
        "parse-server",
        dialects.ParseServer(),
        "node",
        ("server.cjs",),
        ("node", "seed.cjs"),
        source="parse_server",
        storages=("PostgreSQL",),
        hash="bcrypt",
    ),
    _floor("granian", *GRANIAN),
    _floor("gunicorn", *GUNICORN),
)
