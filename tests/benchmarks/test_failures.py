"""A server that fails once costs one figure, and never the run."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import client, performance, tessera
from benchmarks.client import Reply, load
from benchmarks.failures import Failures, NotMeasured, Outcome
from benchmarks.figures import Run
from benchmarks.journeys import Pace, travelling
from benchmarks.measuring import Server, measure, running
from benchmarks.peers.apps.common import PASSWORD
from benchmarks.peers.dialects import BareRoute
from benchmarks.systems import OURS, System, Tokens
from benchmarks.throughput import read_wrk
from benchmarks.workloads import own_profiles
from tests.support.servers import ROOT

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:.*preexec_fn.*", "ignore:.*multi-threaded.*"),
]

SECONDS = 0.25  # of load
STAND_IN = ("-m", "tests.benchmarks.stand_in", "{port}")


class Anybody(BareRoute):
    """A dialect in which anybody who can read the profile has signed in."""

    def sign_in(self, number: int) -> bytes:
        return self.profile("")

    def tokens(self, reply: Reply) -> Tokens:
        if reply.status != 200:
            raise ValueError("no token")
        return Tokens("token")


def environ() -> dict[str, str]:
    """Return the variables of a stand-in."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}


def stand_in(*options: str) -> AbstractContextManager[Server]:
    """Run a stand-in with options."""
    return running((*STAND_IN, *options), environ(), None, ready="/me")


def system(name: str, *options: str) -> System:
    """Return a stand-in as a system to measure."""
    return System(name, "SQLite", Anybody(), (*STAND_IN, *options), environ(), "/me")


@dataclass(frozen=True)
class Peer:
    """A stand-in as a peer of the catalogue."""

    name: str
    options: tuple[str, ...] = ()

    @contextmanager
    def systems(self) -> Iterator[list[System]]:
        yield [system(self.name, *self.options)]

    def version(self) -> str:
        return "1.0"


def loaded(server: Server, seconds: float = SECONDS) -> Outcome:
    return load(server.port, own_profiles(server, Anybody()), seconds)


def test_load_without_failures_counts_every_answer() -> None:
    with stand_in() as server:
        outcome = loaded(server)
    assert outcome.failed == 0
    assert len(outcome.latencies) > 8
    assert outcome.is_valid


@pytest.mark.parametrize(
    ("option", "first"),
    [
        ("--fail-at", 'status 500: {"code":"no"}'),
        ("--drop-at", "the connection was closed after 0 bytes of an answer"),
        ("--garbage-at", "not HTTP: "),
    ],
)
def test_load_goes_on_after_one_failure(option: str, first: str) -> None:
    with stand_in(option, "20") as server:
        outcome = loaded(server)
    assert outcome.failed == 1
    assert outcome.first.startswith(first)
    assert len(outcome.latencies) > 40  # what comes after it


def test_load_ends_when_the_server_dies() -> None:
    with stand_in("--die-at", "50") as server:
        outcome = loaded(server, seconds=600)
    assert 0 < len(outcome.latencies) < 50
    assert outcome.failed >= 8  # one for each connection


def test_load_ends_when_an_answer_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "STALL", 0.5)
    with stand_in("--hang-at", "20") as server:
        outcome = loaded(server)
    assert outcome.failed == 1
    assert outcome.first == "no answer in 0 seconds"


def test_a_measurement_counts_failures_beside_its_figures() -> None:
    with stand_in("--fail-at", "20") as server:
        sample = measure(server, own_profiles(server, Anybody()), SECONDS)
    assert sample.microseconds > 0
    assert sample.outcome.failed == 1
    assert sample.outcome.first.startswith("status 500")


def test_a_figure_is_not_valid_if_too_many_requests_failed() -> None:
    with stand_in("--fail-every", "3") as server:
        sample = measure(server, own_profiles(server, Anybody()), SECONDS)
    assert not sample.outcome.is_valid


def test_one_in_a_hundred_is_not_too_many() -> None:
    assert Outcome(latencies=[0.1] * 99, failed=1).is_valid
    assert not Outcome(latencies=[0.1] * 98, failed=1).is_valid
    assert not Outcome().is_valid


def test_a_measurement_without_a_right_answer_has_no_figures() -> None:
    with stand_in("--fail-every", "1000000", "--die-at", "50") as server, pytest.raises(NotMeasured) as end:
        measure(server, own_profiles(server, Anybody()), SECONDS)
    assert not end.value.outcome.is_valid


PEERS = (
    Peer("stand-in that is well"),
    Peer("stand-in that fails once", ("--fail-at", "20")),
    Peer("stand-in that fails often", ("--fail-every", "3")),
    Peer("stand-in that dies", ("--die-at", "50")),
    Peer("stand-in that never starts", ("--no-such-option",)),
)


def performance_of(
    peers: Sequence[Peer],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    only: str = "stand-in",
    rounds: int = 2,
) -> int:
    """Run the whole benchmark with these peers, and return its exit code."""
    monkeypatch.setattr(performance, "PEERS", peers)
    with pytest.raises(SystemExit) as end:
        arguments = ("--only", only, "--rounds", str(rounds), "--seconds", str(SECONDS), "--to", str(folder))
        performance.main(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


def test_peers_that_fail_are_recorded_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert performance_of(PEERS, tmp_path, monkeypatch) == 0, "a peer's failure is none of Tessera's"
    run = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    figures = {
        record["system"].removeprefix("stand-in that "): record["workloads"].get("own profile", [])
        for record in run["records"]
    }
    assert [figure["failed"] for figure in figures["is well"]] == [0, 0]
    assert [figure["failed"] for figure in figures["fails once"]] == [1, 1]
    assert figures["fails once"][0]["first_failure"] == 'status 500: {"code":"no"}'
    assert [figure["is_valid"] for figure in figures["fails often"]] == [False, False]
    assert figures["dies"] == figures["never starts"] == []
    named = {failure["system"].removesuffix(", SQLite") for failure in run["failures"]}
    assert named == {peer.name for peer in PEERS} - {"stand-in that is well"}
    assert {failure["is_ours"] for failure in run["failures"]} == {False}
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    cells = dict(re.findall(r"^\| stand-in that ([\w ]+) \| SQLite \| ([^|]*) \|", page, re.MULTILINE))
    assert re.fullmatch(r"[\d,]+", cells["is well"])
    assert re.fullmatch(r"[\d,]+ \(2 failed\)", cells["fails once"])
    assert re.fullmatch(r"not valid \([\d,]+ failed\)", cells["fails often"])
    assert re.fullmatch(r"not valid \([\d,]+ failed\)", cells["dies"])
    last = capsys.readouterr().out.rstrip().splitlines()[-1]
    assert last.startswith("FAILED: ")
    assert all(name in last for name in named)


def test_a_failure_of_tessera_is_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def filled(*_: object) -> Iterator[list[System]]:
        yield [system(OURS, "--fail-at", "20")]

    monkeypatch.setattr(tessera, "filled", filled)
    monkeypatch.setattr(performance, "measure_throughput", lambda *_: None)
    assert performance_of([Peer("stand-in")], tmp_path, monkeypatch, only=f"{OURS},stand-in", rounds=1) == 1
    assert "## Failures" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_a_throughput_with_failures_is_recorded() -> None:
    run = Run("", "", "", {}, "")
    performance.measure_throughput(run, [system(OURS, "--fail-at", "200")], 1, SECONDS)
    assert sum(one.failed for one in run.throughput) == 2  # with one process, and with two
    assert run.failures.exit_code == 1


def test_wrk_has_its_failures_read() -> None:
    broken = "  Socket errors: connect 0, read 3, write 0, timeout 1\n"
    outcome = read_wrk(f"  900 requests in 2.00s, 1.00MB read\n{broken}  Non-2xx or 3xx responses: 5\n")
    assert (outcome.right, outcome.failed) == (895, 9)
    assert read_wrk("  900 requests in 2.00s, 1.00MB read\n").is_valid


def test_people_whose_journeys_fail_begin_new_ones() -> None:
    failed = Outcome()
    with stand_in() as server, travelling(server.port, 2, "nobody", Pace(), failed) as check:
        check()
    assert failed.failed >= 2
    assert "WrongAnswer: POST /v1/users: status 200, not 201" in failed.first
    assert PASSWORD not in failed.first


def test_the_summary_names_who_failed_and_in_what() -> None:
    failures = Failures()
    assert (failures.text(), failures.exit_code) == ("No request failed.", 0)
    outcome = Outcome([0.1] * 999, failed=1, first="status 500: a | b")
    failures.add("djoser", "sign-in", outcome, is_ours=False)
    assert failures.exit_code == 0
    failures.add("Tessera", "start", Outcome(failed=1, first="no such file"))
    assert failures.exit_code == 1
    assert "| djoser | sign-in | 1 | 1,000 | status 500: a \\| b | valid |" in failures.text()
    assert failures.text().endswith("FAILED: djoser (sign-in); Tessera (start).")
