"""The servers that tests need: find those that answer, install and start those that do not.

`python -m tests.services start` (or `make services`) installs PostgreSQL and Redis from Debian's packages
where they are missing, and starts each that does not answer yet, on a port and in a folder of its own under
`.services/`. It touches no other server. `stop` ends those that it started.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click
import psycopg
from redis import Redis, RedisError

from tests.support.ports import free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".services"
ANSWER_SECONDS = 2
POLICY = Path("/usr/sbin/policy-rc.d")  # what Debian asks whether an installed service may start


@dataclass(frozen=True)
class Service:
    """A server that tests need.

    `package` is Debian's; `programs` are looked up on the PATH and in the folders of `found_in`, a glob.
    """

    name: str
    variable: str
    default_url: str
    package: str
    programs: tuple[str, ...]
    answers: Callable[[str], bool]
    start: Callable[[Path, int], str]
    stop: Callable[[Path], None]
    found_in: str = ""

    @property
    def link(self) -> Path:
        """Its folder under `.services/`, or a link to it."""
        return FOLDER / self.name.lower()

    @property
    def url_file(self) -> Path:
        """The file that holds the URL of the server that `make services` started."""
        return FOLDER / f"{self.name.lower()}.url"

    def url(self) -> str:
        """Return where tests reach the server: the variable, what was started here, or the usual port."""
        started = self.url_file.read_text(encoding="utf-8") if self.url_file.exists() else None
        return os.environ.get(self.variable) or started or self.default_url

    def program(self, name: str) -> str | None:
        """Return the path of one of its programs, where it is installed."""
        folders = sorted(Path("/").glob(self.found_in), reverse=True) if self.found_in else []
        return shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ["PATH"]]))


def postgresql_answers(url: str) -> bool:
    """Return whether a PostgreSQL server accepts connections at a URL."""
    try:
        psycopg.connect(url, connect_timeout=ANSWER_SECONDS).close()
    except psycopg.OperationalError:
        return False
    return True


def redis_answers(url: str) -> bool:
    """Return whether a Redis server answers at a URL."""
    try:
        with Redis.from_url(url, socket_timeout=ANSWER_SECONDS) as client:
            return bool(client.ping())
    except RedisError:
        return False


def start_postgresql(folder: Path, port: int) -> str:
    """Start PostgreSQL with its data in a folder, and return its URL. It refuses to run as root."""
    data = folder / "data"
    as_user = _as_user("postgres") if os.geteuid() == 0 else ()
    if as_user:
        shutil.chown(folder, "postgres", "postgres")
    if not data.exists():
        initdb = (_program(POSTGRESQL, "initdb"), "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8")
        _run([*as_user, *initdb, "--locale=C.UTF-8"], cwd=folder)
    options = f"-p {port} -h 127.0.0.1 -c unix_socket_directories= -c max_connections=200"
    control = (_program(POSTGRESQL, "pg_ctl"), "-D", data, "-l", folder / "log", "-o", options)
    _run([*as_user, *control, "--wait", "start"], cwd=folder)
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


def stop_postgresql(folder: Path) -> None:
    """Stop the PostgreSQL server of a folder."""
    as_user = _as_user("postgres") if os.geteuid() == 0 else ()
    control = (_program(POSTGRESQL, "pg_ctl"), "-D", folder / "data", "-m", "fast", "--wait", "stop")
    _run([*as_user, *control], cwd=folder)


def start_redis(folder: Path, port: int) -> str:
    """Start Redis with its files in a folder, and return the URL of a database of its own for tests."""
    options = {"port": port, "bind": "127.0.0.1", "dir": folder, "logfile": folder / "log", "save": ""}
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    _run([_program(REDIS, "redis-server"), *arguments, "--daemonize", "yes"], cwd=folder)
    return f"redis://127.0.0.1:{port}/9"


def stop_redis(_: Path) -> None:
    """Stop the Redis server that was started here."""
    with Redis.from_url(REDIS.url_file.read_text(encoding="utf-8")) as client:
        client.shutdown(nosave=True)


POSTGRESQL = Service(
    name="PostgreSQL",
    variable="TEST_POSTGRESQL_URL",
    default_url="postgresql://postgres@127.0.0.1/postgres",
    package="postgresql",
    programs=("initdb", "pg_ctl"),
    found_in="usr/lib/postgresql/*/bin",
    answers=postgresql_answers,
    start=start_postgresql,
    stop=stop_postgresql,
)
REDIS = Service(
    name="Redis",
    variable="TEST_REDIS_URL",
    default_url="redis://127.0.0.1:6379/9",
    package="redis-server",
    programs=("redis-server",),
    answers=redis_answers,
    start=start_redis,
    stop=stop_redis,
)
SERVICES = (POSTGRESQL, REDIS)


@cache
def is_available(service: Service) -> bool:
    """Return whether a server answers; it is asked once in each process."""
    return service.answers(service.url())


@click.group()
def main() -> None:
    """Start and stop the servers that the tests need, under .services/."""


@main.command("start")
def start_all() -> None:
    """Install what is missing, and start each server that does not answer."""
    FOLDER.mkdir(exist_ok=True)
    needed = [service for service in SERVICES if not service.answers(service.url())]
    install([service for service in needed if not all(map(service.program, service.programs))])
    for service in needed:
        _start(service)
    for service in SERVICES:
        click.echo(f"{service.name} answers at {service.url()}.", err=True)


@main.command("stop")
def stop_all() -> None:
    """Stop the servers that were started here, and remove their data."""
    for service in SERVICES:
        if service.url_file.exists():
            folder = service.link.resolve()
            if service.answers(service.url_file.read_text(encoding="utf-8")):
                service.stop(folder)
            shutil.rmtree(folder)
            service.link.unlink(missing_ok=True)
            service.url_file.unlink()


def install(services: Sequence[Service]) -> None:
    """Install the packages of services, without starting what they would start by themselves."""
    if not services:
        return
    packages = [service.package for service in services]
    names = " and ".join(service.name for service in services)
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        wanted = f"sudo {' '.join(command)}" if shutil.which("apt-get") else f"install {names}"
        raise click.ClickException(f"{names} must be installed. Run: {wanted}; then make services again.")
    click.echo(f"Installing {names} ...", err=True)
    may_add_policy = not POLICY.exists()
    if may_add_policy:
        POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        POLICY.chmod(0o755)
    try:
        environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        _run(["apt-get", "update"], environ=environ)
        _run(command, environ=environ)
    finally:
        if may_add_policy:
            POLICY.unlink()


def _start(service: Service) -> None:
    """Start a service in its folder on a free port, and note its URL."""
    if service.variable in os.environ:
        raise click.ClickException(f"{service.name} does not answer at {service.variable}. Unset it.")
    url = service.start(_make_folder(service.link), free_port())
    service.url_file.write_text(url, encoding="utf-8")
    wait_until(lambda: service.answers(url), f"{service.name} answers at {url}")


def _make_folder(link: Path) -> Path:
    """Return the folder of a service, made where it is not there yet.

    PostgreSQL does not run as root. If a folder above is closed to other users, the service's folder is in
    /var/tmp, and a link leads to it.
    """
    if not link.exists():
        link.unlink(missing_ok=True)  # a link to a folder that is gone
        if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in link.parents):
            link.mkdir()
        else:
            link.symlink_to(tempfile.mkdtemp(prefix="tessera-services-", dir="/var/tmp"))
    return link.resolve()


def _program(service: Service, name: str) -> str:
    found = service.program(name)
    if found is None:
        raise click.ClickException(f"{name} of {service.name} is not installed.")
    return found


def _as_user(name: str) -> tuple[str, ...]:
    """Return what runs a command as another user, without a session or a shell."""
    return ("setpriv", f"--reuid={name}", f"--regid={name}", "--init-groups", "--")


def _run(
    command: Sequence[object], cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> None:
    """Run a command; if it fails, end with what it printed. What it starts keeps no pipe of ours open."""
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
        if done.returncode:
            output.seek(0)
            raise click.ClickException(f"{command} failed:\n{output.read()}")


if __name__ == "__main__":
    sys.exit(main())
