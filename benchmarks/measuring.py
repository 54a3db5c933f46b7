"""What the benchmarks share: pinned servers, their CPU time and memory, tables."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from benchmarks.client import PATIENCE, Dialogue, Reply, ask, http_request, load
from benchmarks.failures import Failed, NotMeasured, Outcome

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 20
PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
WARM_UP = 0.5  # seconds of load before each measurement


@dataclass(frozen=True)
class Server:
    """A server in processes of its own, answering on `port`, `start` seconds after it was started."""

    process: subprocess.Popen[bytes]
    port: int
    log: BinaryIO
    start: float = 0.0

    def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Return the answer to one request on a new connection; raises OSError."""
        return self.ask(http_request(method, path, headers, body))

    def ask(self, request: bytes) -> Reply:
        """Return the answer to a request as it goes over the wire; raises OSError."""
        return ask(self.port, request)

    def get(self, path: str) -> int | None:
        """Return the status of a GET on a new connection, None without an answer in time."""
        try:
            return ask(self.port, http_request("GET", path), PATIENCE).status
        except OSError:
            return None

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def cpu(self) -> float:
        """Return the microseconds that all its processes have used, ended children included."""
        return sum(cpu_of(pid) for pid in family(self.process.pid))

    def memory(self) -> float:
        """Return the MiB that its processes hold."""
        return memory_of(family(self.process.pid))

    def said(self) -> str:
        """Return the end of its output."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-2000:]

    def settle(self) -> None:
        """Wait until it does nothing any more, for three seconds at most."""
        before, deadline = self.cpu(), time.monotonic() + 3
        while time.monotonic() < deadline:
            time.sleep(0.1)
            now = self.cpu()
            if now - before < 15_000:  # CPU time comes in ticks of 10,000 us
                return
            before = now


@dataclass(frozen=True)
class Sample:
    """What one measurement found.

    `microseconds` is the server's CPU time a request and `database_microseconds` that of the database
    where it can be seen; `latencies` are in seconds, and all answers took `seconds`. `outcome` counts the
    failures, those of the warming-up among them.
    """

    microseconds: float
    database_microseconds: float | None
    latencies: Sequence[float]
    seconds: float
    outcome: Outcome

    def percentile(self, part: float) -> float:
        """Return a percentile of the latencies, in milliseconds."""
        return percentile(self.latencies, part) * 1000

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds


def cpu_of(pid: int) -> float:
    """Return utime, stime, cutime and cstime of a process (proc(5)), in microseconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") * 1e6


def family(pid: int) -> list[int]:
    """Return the ids of a process and of all that descend from it."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


def memory_of(pids: Sequence[int]) -> float:
    """Return the MiB that processes hold: their own pages, and the files that the largest of them maps.

    PSS would divide the pages of a library by all that map it, the other servers among them.
    """
    own, files = 0, [0]
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        kib = {name: int(size) for name, size, _ in map(str.split, lines)}
        own += kib["Pss_Anon:"] + kib["Pss_Shmem:"]
        files.append(kib["Rss:"] - kib["Anonymous:"])
    return (own + max(files)) / 1024


def two_cores() -> tuple[int, int]:
    """Return a core for the servers and one for the clients; the same one where there is no other.

    Ends the run where there is no /proc to read CPU times from, and no way to pin a process.
    """
    if not Path("/proc/self/stat").exists() or not hasattr(os, "sched_getaffinity"):
        sys.exit("The benchmarks need Linux: they read /proc and pin processes on cores.")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        report("Only one core: servers and clients share it, so the latencies say little.")
    return cores[0], cores[-1]


@contextmanager
def running(
    command: Sequence[str],
    environ: Mapping[str, str],
    core: int | None,
    *,
    ready: str,
    program: str = sys.executable,
    folder: Path = ROOT,
) -> Iterator[Server]:
    """Run a program pinned on a core until GET `ready` is answered without a 5xx, and end it afterwards.

    Without a core it runs where this process may. "{port}" in the command and the environment
    becomes a free port. Its output goes to a file, as in production; the end of it is shown when the
    program does not start.
    """
    port = free_port()
    cores = os.sched_getaffinity(0) if core is None else {core}
    with tempfile.TemporaryFile() as log:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [program, *(part.replace("{port}", str(port)) for part in command)],
            env={name: value.replace("{port}", str(port)) for name, value in environ.items()},
            cwd=folder,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        server = Server(process, port, log)
        try:
            if not _becomes_ready(server, ready):
                raise Failed(f"{program} {' '.join(command)} does not answer:\n{server.said()}")
            yield replace(server, start=time.perf_counter() - begin)
        finally:
            _end(process)


def end_with_parent(number: int = signal.SIGINT) -> None:
    """Let the kernel send a signal to this process when its parent has ended (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _becomes_ready(server: Server, path: str) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while (server.get(path) or 500) >= 500:
        if server.process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its descendants, by their ids."""
    descendants = family(process.pid)
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        for pid in descendants:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(PATIENCE)


def measure(
    server: Server,
    dialogues: Sequence[Dialogue],
    seconds: float,
    database_cpu: Callable[[], float | None] = lambda: None,
) -> Sample:
    """Return what a request costs under load, after a warming-up.

    What the server does after its last answer counts as well, such as sending an email. Raises NotMeasured if
    no answer is right, or if the server ends meanwhile.
    """
    outcome = Outcome()
    try:
        return _sample(server, dialogues, seconds, database_cpu, outcome)
    except OSError as error:  # the process has ended, and /proc knows it no longer
        outcome.fail(error)
        raise NotMeasured(outcome) from error


def _sample(
    server: Server,
    dialogues: Sequence[Dialogue],
    seconds: float,
    database_cpu: Callable[[], float | None],
    outcome: Outcome,
) -> Sample:
    warming_up = load(server.port, dialogues, min(WARM_UP, seconds))
    server.settle()
    cpu, others, begin = server.cpu(), database_cpu(), time.perf_counter()
    found = load(server.port, dialogues, seconds)
    elapsed = time.perf_counter() - begin
    outcome.include(warming_up)
    outcome.include(found)
    _expect_figures(server, found.latencies, outcome)
    server.settle()
    used, count = server.cpu() - cpu, len(found.latencies)
    share = None if others is None else (database_cpu() or 0) - others
    each = None if share is None else share / count
    return Sample(used / count, each, found.latencies, elapsed, outcome)


def _expect_figures(server: Server, latencies: Sequence[float], outcome: Outcome) -> None:
    """Raise NotMeasured if a measurement has no figures."""
    if (code := server.process.poll()) is not None:
        outcome.fail(f"the server has ended with exit code {code}")
        raise NotMeasured(outcome)
    if not latencies:
        raise NotMeasured(outcome)


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value that the given part of all values is below."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def markdown(align: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; `align` has an `l` or an `r` for each column."""
    rule = ["---:" if side == "r" else "---" for side in align]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def report(line: str) -> None:
    """Report progress to the person who waits."""
    print(line, file=sys.stderr, flush=True)
