"""`python -m benchmarks.peers`: what can be installed is, and what cannot is named and left out."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.peers import catalogue
from benchmarks.peers.__main__ import install, remove
from benchmarks.peers.catalogue import PEERS
from tests.benchmarks.commands import run_benchmark

pytestmark = pytest.mark.long


def test_a_peer_that_cannot_be_installed_is_named_and_left_out(tmp_path: Path) -> None:
    done = run_benchmark("peers", "better-auth", PEERS_HOME=str(tmp_path), PATH="/nonexistent")
    assert done.code == 0, done.progress
    assert "better-auth: LEFT OUT: there is no npm" in done.progress
    assert list(tmp_path.iterdir()) == []


def test_removing_a_peer_removes_its_folder(tmp_path: Path) -> None:
    (tmp_path / "Flask-on-granian").mkdir()
    done = run_benchmark("peers", "--remove", "Flask on granian", PEERS_HOME=str(tmp_path))
    assert done.code == 0, done.progress
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_peer_is_an_error() -> None:
    done = run_benchmark("peers", "nobody")
    assert done.code == 2
    assert "there is no peer nobody" in done.progress


def test_a_peer_is_installed_and_filled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """npm, which would need a network, is a script here."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "npm").write_text('#!/bin/sh\necho "$1" >> npm.log\n')
    (programs / "seed").write_text(
        '#!/bin/sh\n: > "${PEER_DATABASE#sqlite:///}"\necho "$PEER_USERS" >> seed.log\n'
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setattr(catalogue, "HOME", tmp_path / "home")
    [peer] = [peer for peer in PEERS if peer.name == "better-auth"]
    peer = replace(peer, storages=("SQLite",), seed=("seed",))
    install(peer)
    install(peer)
    assert (peer.folder / "npm.log").read_text() == "install\n"
    assert (peer.folder / "seed.log").read_text() == "100000\n"
    assert (peer.folder / "server.mjs").exists()
    assert peer.is_filled("SQLite")
    remove(peer)
    assert not peer.folder.exists()
