"""Two processes of Tessera beside one: what both answer on all cores, and what the load generator takes."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.client import Repeat, load
from benchmarks.figures import Throughput
from benchmarks.measuring import WARM_UP, Server
from benchmarks.systems import PEOPLE, System, sign_in

CONNECTIONS = 32  # the kernel deals them out to the processes by chance
ASK = """
local tokens, turn = {%s}, 0
function request()
  turn = turn %% #tokens + 1
  return wrk.format("GET", "%s", {Accept = "application/json", Authorization = "Bearer " .. tokens[turn]})
end
"""


def load_generator() -> str:
    """Return what makes the load: wrk where it is installed, which takes little of the cores."""
    return "wrk" if shutil.which("wrk") else "our own client, in Python"


def answered_by(system: System, processes: int, seconds: float) -> Throughput:
    """Return what so many processes answer to requests for own profiles, wherever the kernel runs them."""
    with system.started(None, TESSERA_WORKERS=str(processes)) as server:
        tokens = [sign_in(server, system.dialect, number).access for number in PEOPLE[:CONNECTIONS]]
        for number, token in zip(PEOPLE, tokens, strict=False):
            if not system.dialect.is_profile(reply := server.ask(system.dialect.profile(token)), number):
                sys.exit(f"wrong answer: {reply}")
        _hammer(system, server, tokens, WARM_UP)
        server.settle()
        database_cpu = system.database.cpu if system.database else lambda: None
        cpu, others, client, begin = server.cpu(), database_cpu(), _own_cpu(), time.perf_counter()
        answers = _hammer(system, server, tokens, seconds)
        elapsed = time.perf_counter() - begin
        share = None if others is None else ((database_cpu() or 0) - others) / answers
        return Throughput(
            system.storage,
            processes,
            answers / elapsed,
            (server.cpu() - cpu) / answers,
            share,
            (_own_cpu() - client) / answers,
        )


def _hammer(system: System, server: Server, tokens: Sequence[str], seconds: float) -> int:
    """Return how many answers came; one that is no success ends the run."""
    if shutil.which("wrk"):
        return _wrk(system.dialect.profile_path, server.port, tokens, max(1, round(seconds)))
    return len(load(server.port, [Repeat(system.dialect.profile(token)) for token in tokens], seconds))


def _wrk(path: str, port: int, tokens: Sequence[str], seconds: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "ask.lua"
        script.write_text(ASK % (", ".join(f'"{token}"' for token in tokens), path))
        options = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script)]
        command = ["wrk", *options, f"http://127.0.0.1:{port}"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    answers = re.search(r"(\d+) requests in", told)
    if answers is None or "Non-2xx" in told or "Socket errors" in told:
        sys.exit(f"wrk was answered wrongly: {told}")
    return int(answers[1])


def _own_cpu() -> float:
    """Return the microseconds that this process and its ended children have used."""
    return sum(os.times()[:4]) * 1e6
