"""Who may know whom: the rule of docs/features.md, for every feature that is or will be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import ROOT

TRUNK = ("users", "sessions")  # in this order
FLOORS = (
    "models",
    "roles",
    "identifiers",
    "keys",
    "tokens",
    "endings",
    "refreshing",
    "chain",
    "records",
    "rows",
    "claims",
    "inserting",
    "storing",
    "running",
    "exporting",
    "service",
    "standing",
    "erasure",
    "credentials",
    "signing_up",
    "letters",
    "searching",
    "signing_out",
    "forgetting",
    "listing",
    "resources",
    "progress",
    "commands",
    "list_command",
    "__init__",
)
FEATURES = sorted(
    path.parent.name for path in (ROOT / "api").glob("*/__init__.py") if path.parent.name != "kit"
)
FILES = sorted((ROOT / "api").glob("*/*.py")) + sorted((ROOT / "schemas").glob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, `from a import b` as `a.b` where b is a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = (ROOT / (inner.replace(".", "/") + ".py")).exists()
                yield inner if is_module else node.module


def _may(feature: str, file: str, module: str) -> bool:
    """Tell whether a file of a feature may import a module."""
    first, *rest = module.split(".")
    if first == "schemas":
        return rest[0] in ("base", "messages", feature, *_trunk_below(feature))
    if first != "api" or not rest or rest[0] == "kit":
        return first not in ("tests", "migrations")
    if rest[0] == feature:
        below = rest[1] if len(rest) > 1 else "__init__"
        return FLOORS.index(below) < FLOORS.index(file)
    # The trunk is met by its service; its models by what joins their tables; identifiers by what takes one.
    return rest[0] in _trunk_below(feature) and rest[1:] in (
        ["service"],
        ["credentials"],
        ["signing_up"],
        ["signing_out"],
        ["letters"],
        ["models"],
        ["identifiers"],
        ["roles"],
        ["standing"],
        ["erasure"],
    )


def _trunk_below(feature: str) -> tuple[str, ...]:
    return TRUNK[: TRUNK.index(feature)] if feature in TRUNK else TRUNK


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_imports_only_what_it_may(path: Path) -> None:
    owner, file = path.parent.name, path.stem
    if owner == "kit":
        refused = [m for m in _imports(path) if m.startswith("api.") and not m.startswith("api.kit")]
    elif owner == "schemas":
        refused = [
            m for m in _imports(path) if m.partition(".")[0] in ("api", "flask", "sqlalchemy", "tests")
        ]
    else:
        refused = [m for m in _imports(path) if not _may(owner, file, m)]
    assert refused == []


@pytest.mark.parametrize("feature", FEATURES)
def test_a_service_and_its_models_meet_no_request(feature: str) -> None:
    for name in ("service", "models"):
        path = ROOT / "api" / feature / f"{name}.py"
        modules = set(_imports(path)) if path.exists() else set()
        assert not [m for m in modules if m.partition(".")[0] in ("flask", "flask_restful", "werkzeug")]


def test_one_file_reads_the_environment_and_one_the_time() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert ("os.environ" in text) == (path.name == "settings.py"), path
        assert ("time.monotonic" in text or "datetime.now" in text) == (path.name == "clock.py"), path


def test_one_file_commits() -> None:
    assert [path.name for path in FILES if "session.commit()" in path.read_text(encoding="utf-8")] == [
        "work.py"
    ]
