"""`tessera worker` many times over: forked from a process that has imported it, so that a start is quick.

`python -m tests.support.workers LEASE_SECONDS` starts one for each line that it reads, and writes its
process id. The lease of deliveries, a constant of 120 seconds, is set to what a test can wait for.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from api.kit import outbox
from tests.support.servers import ROOT


@dataclass(frozen=True)
class Nursery:
    """Where workers come from."""

    process: "subprocess.Popen[str]"

    def start(self) -> int:
        """Start `tessera worker`, and return its process id."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("start\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextmanager
def workers(environ: Mapping[str, str], lease: float = outbox.LEASE_SECONDS) -> Iterator[Nursery]:
    """Start workers with these variables and no others; those that still run are told to stop at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.workers", str(lease)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Nursery(process)
    finally:
        process.communicate(timeout=60)
        assert process.returncode == 0


def _become_worker() -> None:
    from api.cli import main

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    main(["worker"])


def _fork() -> int:
    pid = os.fork()
    if pid == 0:
        try:
            _become_worker()
        except SystemExit as ended:
            os._exit(ended.code if isinstance(ended.code, int) else 1)
        finally:
            os._exit(1)
    return pid


def _run(lease: float) -> None:
    import api.app
    import api.cli  # what a worker needs, imported once

    api.app.all_features()
    outbox.LEASE_SECONDS = lease  # type: ignore[assignment]  # half seconds, in tests
    started = []
    for _ in sys.stdin:
        started.append(_fork())
        print(started[-1], flush=True)
    for pid in started:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    for pid in started:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    _run(float(sys.argv[1]))
