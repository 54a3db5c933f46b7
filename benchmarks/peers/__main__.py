"""Install the peers and fill their databases, once; `make bench-peers` then measures them beside Tessera.

    python -m benchmarks.peers                 what is missing; ten minutes for all
    python -m benchmarks.peers djoser allauth  these
    python -m benchmarks.peers --remove        their folders and databases

They go into the folder PEERS_HOME (`.peers` of this checkout), each in its newest release and with packages
of its own, and into databases `tessera_peer_...` of the PostgreSQL at TEST_POSTGRESQL_URL. Each is given
100,000 users. Those of npm need node and npm. One that cannot be installed is told, and left out.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from benchmarks.failures import Failed
from benchmarks.measuring import free_port, report
from benchmarks.peers.catalogue import APPS, HOME, PEERS, Peer
from benchmarks.postgresql import URL, Connection, connect, create


def install(peer: Peer) -> None:
    """Install a peer's packages, and fill its databases; what is done stays. Raises Failed."""
    if not peer.folder.exists():
        report(f"{peer.name}: installing")
        peer.folder.mkdir(parents=True)
        try:
            _install_python(peer) if peer.packages else _install_node(peer)
        except Failed:
            shutil.rmtree(peer.folder)
            raise
    for storage in filter(None, peer.storages):
        if not peer.is_filled(storage):
            report(f"{peer.name}: filling {storage}")
            _fill(peer, storage)


def _install_python(peer: Peer) -> None:
    _run([sys.executable, "-m", "venv", str(peer.folder / "venv")])
    _run([peer.program_path("pip"), "install", "--quiet", *peer.packages])


def _install_node(peer: Peer) -> None:
    shutil.copytree(APPS / peer.source, peer.folder, dirs_exist_ok=True)
    _run(["npm", "install", "--silent", "--no-audit", "--no-fund"], peer.folder)


def _fill(peer: Peer, storage: str) -> None:
    """Make a database and fill it: there is either a whole one or none."""
    _remove_database(peer, storage)
    if storage == "PostgreSQL":
        with _server() as server:
            create(server, peer.database_name())
    program, *arguments = peer.seed
    environ = {
        name: value.replace("{port}", str(free_port())) for name, value in peer.environ(storage).items()
    }
    try:
        _run([peer.program_path(program), *arguments], peer.folder, environ)
        if storage == "PostgreSQL":
            with psycopg.connect(peer.database_url(storage), autocommit=True) as database:
                database.execute("VACUUM ANALYZE")
    except Failed:
        _remove_database(peer, storage)
        raise


def _remove_database(peer: Peer, storage: str) -> None:
    if storage == "PostgreSQL":
        with _server() as server:
            server.execute(f'DROP DATABASE IF EXISTS "{peer.database_name()}" WITH (FORCE)'.encode())
    else:
        for file in peer.folder.glob("peer.db*"):
            file.unlink()


def _server() -> Connection:
    """Return a connection to PostgreSQL; raises Failed without one.

    A private server would not do: it ends with this process, and the databases with it.
    """
    try:
        return connect(URL)
    except psycopg.OperationalError as error:
        raise Failed(f"no PostgreSQL answers (TEST_POSTGRESQL_URL): {error}") from error


def _run(command: Sequence[str], folder: Path = APPS, environ: Mapping[str, str] = os.environ) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, env=dict(environ), capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise Failed(f"there is no {error.filename}") from error
    if done.returncode != 0:
        raise Failed((done.stderr or done.stdout)[-2000:])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [peer.name for peer in PEERS]
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"some of {', '.join(names)} (all)")
    parser.add_argument("--remove", action="store_true", help="remove what was installed and filled")
    options = parser.parse_args()
    for unknown in set(options.peers) - set(names):
        parser.error(f"there is no peer {unknown}")
    chosen = [peer for peer in PEERS if not options.peers or peer.name in options.peers]
    for peer in chosen:
        try:
            (remove if options.remove else install)(peer)
        except Failed as failure:
            report(f"{peer.name}: {'NOT REMOVED' if options.remove else 'LEFT OUT'}: {failure}")
    report(f"The peers are in {HOME}.")


def remove(peer: Peer) -> None:
    """Remove a peer's folder and databases; raises Failed if there is no PostgreSQL to ask."""
    for storage in filter(None, peer.storages):
        _remove_database(peer, storage)
    shutil.rmtree(peer.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
