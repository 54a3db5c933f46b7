"""Every command of the README, run as a newcomer would: on a clean copy, with an empty environment."""

import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.guides import blocks_of, run_blocks
from tests.support.ports import free_port
from tests.support.servers import ROOT
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long

START, *STEPS, TEST = blocks_of(ROOT / "README.md")
SET_UP_SECONDS = 600  # on a slow line, or a busy machine


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone of the working tree would hold."""
    folder = tmp_path_factory.mktemp("clone") / "tessera"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def port(copy: Path) -> Iterator[int]:
    """The port of the service that the README's first command has set up and started."""
    port = free_port()
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PORT": str(port)}
    log = copy.parent / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-euc", START], cwd=copy, env=environ, stdout=output, stderr=output, process_group=0
        )
        try:
            _wait_until_ready(port, process, log)
            yield port
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def _wait_until_ready(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    def is_ready() -> bool:
        assert process.poll() is None, f"`{START.strip()}` ended: {log.read_text()}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready") as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    wait_until(is_ready, f"the service is ready; its log is {log}", SET_UP_SECONDS)


def test_the_first_command_serves_and_says_what_to_do_next(copy: Path, port: int) -> None:
    log = (copy.parent / "serve.log").read_text()
    assert f"Tessera listens on http://127.0.0.1:{port}" in log
    assert "tessera user create --admin" in log
    assert f"curl -X POST http://127.0.0.1:{port}/v1/users" in log


def test_its_curl_lines_carry_a_person_from_sign_up_to_being_refused(copy: Path, port: int) -> None:
    written = run_blocks(STEPS, copy, port)
    signed_up, signed_in, me, changed, refreshed, refused, admin, _removed = written
    assert '"username":"mina"' in signed_up
    assert signed_in.strip() == "1", "the tokens go to a file"
    assert '"username":"mina"' in me
    assert '"display_name":"Mina Kim"' in changed
    assert '"device_name":"My laptop"' in changed
    assert refreshed.strip() == "4", "the tokens go to a file"
    assert '"code":"invalid_token"' in refused
    assert "Created the administrator admin" in admin
    assert not (copy / "tokens.json").exists()


def test_ci_runs_the_command_for_the_tests() -> None:
    assert TEST.strip() == "make test"
    assert TEST.strip() in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
