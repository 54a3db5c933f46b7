"""A real mail server in a process of its own, that keeps a ledger on disk of what it has accepted.

`python -m tests.support.ledger PORT LEDGER SECONDS` starts it.
"""

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.servers import ROOT, free_port

ACCEPTED = "250 OK"


@dataclass(frozen=True)
class Ledger:
    """What the mail server in a process of its own has accepted."""

    url: str
    path: Path

    def entries(self) -> list[tuple[str, str]]:
        """Return (Message-ID, recipient) of each message, in the order in which they were accepted."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        return [(line.split()[0], line.split()[1]) for line in lines]

    def wait_for(self, count: int, seconds: float = 20) -> list[tuple[str, str]]:
        """Return the entries once there are so many; fails when they do not come."""
        deadline = time.monotonic() + seconds
        while len(self.entries()) < count:
            assert time.monotonic() < deadline, f"{len(self.entries())} of {count} letters came"
            time.sleep(0.02)
        return self.entries()


@contextmanager
def ledger(folder: Path, seconds: float = 0.0) -> Iterator[Ledger]:
    """Run a mail server in a process of its own, that takes up to so many seconds for a message."""
    port, path = free_port(), folder / "ledger"
    command = [sys.executable, "-m", "tests.support.ledger", str(port), str(path), str(seconds)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        _wait_until_it_listens(port)
        yield Ledger(f"smtp://127.0.0.1:{port}", path)
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_it_listens(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the mail server does not listen")


@dataclass(frozen=True)
class _Writer:
    """Notes each message on disk before it says that it has it."""

    descriptor: int
    seconds: float

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        await asyncio.sleep(random.uniform(0, self.seconds))
        message_id = message_from_bytes(envelope.content)["Message-ID"]
        os.write(self.descriptor, f"{message_id} {' '.join(envelope.rcpt_tos)}\n".encode())
        os.fsync(self.descriptor)
        await asyncio.sleep(random.uniform(0, self.seconds))
        return ACCEPTED


async def _serve(port: int, path: Path, seconds: float) -> None:
    writer = _Writer(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY), seconds)
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(writer), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
