"""`tessera user import` and `tessera user export`."""

import json
import os
import pty
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from api.bulk import service
from api.bulk.models import UserImport
from api.kit import work
from api.users.models import User
from tests.bulk.conftest import exported, lines_of, row
from tests.support.clients import Person
from tests.support.commands import tessera_of
from tests.support.servers import ROOT
from tests.support.waiting import wait_until

IMPORT_SECONDS = 600  # in which a busy machine imports 20,000 rows


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of ten users, of whom one is unfit."""
    path = tmp_path / "users.ndjson"
    path.write_bytes(lines_of(*(row(f"user{n}") for n in range(9)), row("a b", email="a@example.com")))
    return path


def _count(app: Flask) -> int:
    with app.app_context():
        return int(work.read_all(sa.select(sa.func.count()).select_from(User))[0][0])


def test_a_file_is_brought_in(app: Flask, file: Path) -> None:
    ended = tessera_of(app, "user", "import", str(file))
    assert (ended.code, _count(app)) == (3, 9)
    assert "9 created, 0 updated, 0 skipped, 1 refused" in ended.output
    assert "line 10 /username" in ended.errors
    assert "invalid_username" in ended.errors
    assert "100%, 10 rows" in ended.errors


def test_what_is_wrong_is_written_to_a_file(app: Flask, file: Path, tmp_path: Path) -> None:
    errors = tmp_path / "errors.ndjson"
    assert tessera_of(app, "user", "import", str(file), "--errors", str(errors)).code == 3
    [found] = [json.loads(line) for line in errors.read_text().splitlines()]
    assert (found["line"], found["pointer"], found["code"]) == (10, "/username", "invalid_username")


def test_a_dry_run_changes_nobody(app: Flask, file: Path) -> None:
    ended = tessera_of(app, "user", "import", str(file), "--dry-run")
    assert (ended.code, _count(app)) == (3, 0)
    assert "Would have" in ended.output


def test_the_same_file_again_is_another_import(app: Flask, file: Path) -> None:
    tessera_of(app, "user", "import", str(file))
    assert "9 skipped" in tessera_of(app, "user", "import", str(file), "--on-conflict", "skip").output
    assert "9 updated" in tessera_of(app, "user", "import", str(file), "--on-conflict", "update").output


def test_a_file_of_something_else_fails(app: Flask, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("a,b\n1,2\n")
    ended = tessera_of(app, "user", "import", str(path))
    assert ended.code == 1
    assert "invalid_header" in ended.errors


@pytest.mark.usefixtures("patient_app")
def test_it_goes_on_where_it_stopped(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "users.ndjson"
    path.write_bytes(lines_of(*(row(f"user{n}") for n in range(5000))))
    steps = iter((service.step, service.step, _interrupted))
    with monkeypatch.context() as patch:
        patch.setattr(service, "step", lambda *given: next(steps)(*given))
        ended = tessera_of(app, "user", "import", str(path))
    assert (ended.code, _count(app)) == (130, 4000)
    assert "The same command goes on" in ended.errors
    ended = tessera_of(app, "user", "import", str(path))
    assert (ended.code, _count(app)) == (0, 5000)
    assert "Going on after line 4,000" in ended.errors
    assert "Have of 5,000 rows: 5,000 created" in ended.output


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _start_import(path: Path, environ: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start `tessera user import` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "api", "user", "import", str(path)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.long
def test_kill_9_and_the_same_command_again_is_as_if_nothing_had_been(
    app: Flask, environ: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "users.ndjson"
    path.write_bytes(lines_of(*(row(f"user{n}", metadata={"n": n}) for n in range(20_000))))
    process = _start_import(path, environ)
    wait_until(lambda: _count(app) >= 2000, "the first rows are imported")
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert _count(app) < 20_000, "it was killed in the middle"
    assert _start_import(path, environ).wait(IMPORT_SECONDS) == 0
    assert _count(app) == 20_000
    with app.app_context():
        [job] = work.read_all(sa.select(UserImport.rows, UserImport.created, UserImport.refused))
    assert tuple(job) == (20_000, 20_000, 0)


@pytest.mark.database("sqlite")
def test_a_terminal_sees_a_bar(environ: dict[str, str], app: Flask, file: Path) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "api", "user", "import", str(file)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "120", **environ},
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=False,
    )
    os.close(theirs)
    seen = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.returncode == 3
    assert "Importing" in seen
    assert "\u2501" in seen, "a bar"
    assert "10 rows" in seen
    assert "1 refused" in seen


@pytest.mark.parametrize("name", ["users.ndjson", "users.csv"])
def test_an_export_is_what_http_gives(app: Flask, admin: Person, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    ended = tessera_of(app, "user", "export", str(path))
    assert (ended.code, ended.output) == (0, f"Wrote 1 users to {path}.\n")
    assert path.read_bytes() == exported(admin, f"?secrets=true&format={path.suffix[1:]}")
    assert not list(tmp_path.glob("*.part"))


def test_an_export_to_a_pipe_comes_out_of_it(app: Flask, admin: Person, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        ended = tessera_of(app, "user", "export", str(pipe))
        assert read.result(60) == exported(admin)
    assert (ended.code, ended.output, ended.errors.splitlines()[-1]) == (0, "", f"Wrote 1 users to {pipe}.")
    assert pipe.is_fifo()


def test_what_cannot_be_read_twice_is_not_brought_in(app: Flask, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ended = tessera_of(app, "user", "import", str(pipe))
    assert ended.code == 2
    assert "FILE must be a file" in ended.errors


def test_secrets_can_be_left_out(app: Flask, admin: Person, tmp_path: Path) -> None:
    path = tmp_path / "users.ndjson"
    tessera_of(app, "user", "export", str(path), "--no-secrets")
    assert path.read_bytes() == exported(admin, "")


def test_the_commands_of_users_are_one_group(app: Flask) -> None:
    ended = tessera_of(app, "user", "--help")
    assert {"create", "import", "export"} <= set(ended.output.split())
    assert "Make and manage users." in ended.output
