"""Two processes of Tessera beside one: what both answer on all cores, and what the load generator takes."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import Repeat, load
from benchmarks.failures import Failed, NotMeasured, Outcome, WrongAnswer
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


@dataclass(frozen=True)
class Answered:
    """The figures of one measurement, and what failed in it."""

    throughput: Throughput
    outcome: Outcome


def answered_by(system: System, processes: int, seconds: float) -> Answered:
    """Return what so many processes answer to requests for own profiles, wherever the kernel runs them.

    Raises Failed if none is answered rightly.
    """
    with system.started(None, TESSERA_WORKERS=str(processes)) as server:
        tokens = [sign_in(server, system.dialect, number).access for number in PEOPLE[:CONNECTIONS]]
        for number, token in zip(PEOPLE, tokens, strict=False):
            if not system.dialect.is_profile(reply := server.ask(system.dialect.profile(token)), number):
                raise WrongAnswer(f"own profile: {reply}")
        warming_up = _hammer(system, server, tokens, min(WARM_UP, seconds))
        server.settle()
        database_cpu = system.database.cpu if system.database else lambda: None
        cpu, others, client, begin = server.cpu(), database_cpu(), _own_cpu(), time.perf_counter()
        outcome = _hammer(system, server, tokens, seconds)
        elapsed = time.perf_counter() - begin
        count = outcome.right
        outcome.include(warming_up)
        if not count:
            raise NotMeasured(outcome)
        share = None if others is None else ((database_cpu() or 0) - others) / count
        throughput = Throughput(
            system.storage,
            processes,
            count / elapsed,
            (server.cpu() - cpu) / count,
            share,
            (_own_cpu() - client) / count,
            outcome.failed,
            outcome.first,
            outcome.is_valid,
        )
        return Answered(throughput, outcome)


def _hammer(system: System, server: Server, tokens: Sequence[str], seconds: float) -> Outcome:
    """Return what was answered."""
    if shutil.which("wrk"):
        return _wrk(system.dialect.profile_path, server.port, tokens, max(1, round(seconds)))
    return load(server.port, [Repeat(system.dialect.profile(token)) for token in tokens], seconds)


def _wrk(path: str, port: int, tokens: Sequence[str], seconds: int) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "ask.lua"
        script.write_text(ASK % (", ".join(f'"{token}"' for token in tokens), path))
        options = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script)]
        command = ["wrk", *options, f"http://127.0.0.1:{port}"]
        return read_wrk(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def read_wrk(output: str) -> Outcome:
    """Return what wrk counted; raises Failed without a count."""
    answers = re.search(r"(\d+) requests in", output)
    if answers is None:
        raise Failed(f"wrk: {output}")
    outcome = Outcome()
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    broken = re.search(r"Socket errors: .*", output)
    if wrong is not None:
        outcome.fail(f"wrk: {wrong[0]}", int(wrong[1]))
    if broken is not None:
        outcome.fail(f"wrk: {broken[0]}", sum(map(int, re.findall(r"\d+", broken[0]))))
    outcome.counted = int(answers[1]) - (int(wrong[1]) if wrong else 0)
    return outcome


def _own_cpu() -> float:
    """Return the microseconds that this process and its ended children have used."""
    return sum(os.times()[:4]) * 1e6
