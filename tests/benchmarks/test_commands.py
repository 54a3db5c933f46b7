"""Every benchmark that is a command has a smoke test, and help that says what each option does."""

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks.commands import commands
from tests.support.servers import ROOT

pytestmark = pytest.mark.long


def test_every_command_has_a_smoke_test() -> None:
    texts = [file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_*.py")]
    tested = {name for text in texts for name in re.findall(r'run_(?:well|benchmark)\(\s*"(\w+)"', text)}
    assert tested == commands()


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"python -m benchmarks\.(\w+)", text)) == commands()


@pytest.mark.parametrize("name", sorted(commands()))
def test_help_describes_the_command_and_every_option(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main_of(name)()
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert output.startswith(f"usage: python -m benchmarks.{name} ")
    usage, _, rest = output.partition("\n\n")
    description, _, options = rest.partition("options:\n")
    assert f"python -m benchmarks.{name}" in description
    described = dict(re.findall(r"^  (?:-h, )?(--[\w-]+)(.*(?:\n {8}.*)*)", options, re.MULTILINE))
    assert set(re.findall(r"--[\w-]+", usage)) | {"--help"} == set(described)
    for option, text in described.items():
        words = re.sub(r"^( [A-Z_]+| \{\S+\})", "", text).split()
        assert len(words) >= 3, f"{option} is not described"


def main_of(name: str) -> Callable[[], None]:
    """Return the function that a command runs."""
    module = importlib.import_module(f"benchmarks.{name}")
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"benchmarks.{name}.__main__")
    main: Callable[[], None] = module.main
    return main
