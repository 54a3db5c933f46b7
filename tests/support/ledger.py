"""A real mail server in a process of its own, that keeps a ledger on disk of what it has accepted.

`python -m tests.support.ledger PORT LEDGER SECONDS [GATE]` starts it.
"""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.gates import Gate, pass_gate
from tests.support.ports import free_port
from tests.support.servers import ROOT, listens
from tests.support.waiting import DEADLINE, wait_until

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

    def wait_for(self, count: int) -> list[tuple[str, str]]:
        """Return the entries once there are so many; fails when they do not come."""
        wait_until(lambda: len(self.entries()) >= count, f"the mail server has accepted {count} messages")
        return self.entries()


@contextmanager
def ledger(folder: Path, seconds: float = 0.0, gate: Gate | None = None) -> Iterator[Ledger]:
    """Run a mail server in a process of its own, that takes up to so many seconds for a message.

    With a gate, each message waits there before it is accepted.
    """
    port, path = free_port(), folder / "ledger"
    command = [sys.executable, "-m", "tests.support.ledger", str(port), str(path), str(seconds)]
    process = subprocess.Popen([*command, *([str(gate.folder)] if gate else [])], cwd=ROOT)
    try:
        wait_until(lambda: listens(port), "the mail server listens")
        yield Ledger(f"smtp://127.0.0.1:{port}", path)
    finally:
        process.terminate()
        process.wait(DEADLINE)


@dataclass(frozen=True)
class _Writer:
    """Notes each message on disk before it says that it has it."""

    descriptor: int
    seconds: float
    gate: Path | None

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        if self.gate is not None:
            await asyncio.to_thread(pass_gate, self.gate)
        await asyncio.sleep(random.uniform(0, self.seconds))  # slow peer: a mail server that checks messages
        message_id = message_from_bytes(envelope.content)["Message-ID"]
        os.write(self.descriptor, f"{message_id} {' '.join(envelope.rcpt_tos)}\n".encode())
        os.fsync(self.descriptor)
        await asyncio.sleep(random.uniform(0, self.seconds))  # slow peer: a mail server that is slow to reply
        return ACCEPTED


async def _serve(port: int, path: Path, seconds: float, gate: Path | None) -> None:
    writer = _Writer(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY), seconds, gate)
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(writer), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    at = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), at))
