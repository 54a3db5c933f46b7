"""What is generated and checked in (`python -m tests.generated`): see `current`."""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from api.app import create_app
from api.kit import openapi
from api.kit.config import KIT_SETTINGS
from api.kit.feature import Feature
from api.kit.service import Service
from tests import translations
from tests.support.own import environ_of, own_features
from tests.support.problem_page import problem_page
from tests.support.servers import ROOT
from tests.support.story import take_examples

OPENAPI = ROOT / "openapi.yaml"
PROBLEMS = ROOT / "docs" / "problems.md"
README = ROOT / "README.md"


def current() -> Iterator[tuple[Path, bytes]]:
    """Yield every file, and what it should hold: the examples, then what is made with them."""
    yield from examples()
    yield from documents()


def examples() -> Iterator[tuple[Path, bytes]]:
    """Yield what `current` does for the file of each feature that has examples: they are taken anew."""
    taken = take_examples()
    for feature in own_features():
        if feature.examples is not None:
            own = {name: taken[name] for name in _operations(feature) if name in taken}
            yield feature.examples, f"{json.dumps(own, ensure_ascii=False, indent=2)}\n".encode()


def documents() -> Iterator[tuple[Path, bytes]]:
    """Yield what `current` does for the contract, the page of problems, the README and the catalogues."""
    service = own_service()
    yield OPENAPI, openapi.as_yaml(openapi.document(service)).encode()
    yield PROBLEMS, problem_page(service).encode()
    yield README, with_tables(README.read_text(encoding="utf-8")).encode()
    for translated in translations.ALL:
        yield from translations.current(translated)


def own_service() -> Service:
    """Return a service of all of Tessera's own features in production, with the default settings."""
    with tempfile.TemporaryDirectory() as folder:
        service: Service = create_app(environ_of(folder)).extensions["tessera"]
        return service


def with_tables(readme: str) -> str:
    """Return the README with its tables made anew."""
    for name, table in (("features", feature_table()), ("settings", setting_table())):
        start, end = f"<!-- {name}: generated -->\n", f"<!-- end of {name} -->"
        before, _, rest = readme.partition(start)
        readme = f"{before}{start}{table}{end}{rest.partition(end)[2]}"
    return readme


def feature_table() -> str:
    rows = [
        f"| `{f.name}` | {f.summary} | {', '.join(f'`{name}`' for name in _operations(f))} |\n"
        for f in own_features()
    ]
    return "| feature | what it is for | operations |\n|---|---|---|\n" + "".join(rows)


def setting_table() -> str:
    rows = []
    for group, settings in (("kit", KIT_SETTINGS), *((f.name, f.settings) for f in own_features())):
        rows += [f"| `{s.variable}` | {s.describe_default()} | {s.help} | {group} |\n" for s in settings]
    return "| variable | default | meaning | feature |\n|---|---|---|---|\n" + "".join(rows)


def _operations(feature: Feature) -> Iterator[str]:
    for _path, resource in feature.resources:
        for method in sorted(resource.methods or ()):
            yield getattr(resource, method.lower()).operation_id


def main() -> int:
    """Write what is stale; with --check only say so, and return 1."""
    checking, stale = "--check" in sys.argv, 0
    for path, wanted in current():
        if not path.exists() or path.read_bytes() != wanted:
            stale += 1
            name = path.relative_to(ROOT)
            print(f"{name} is stale; run: make docs" if checking else f"wrote {name}")
            if not checking:
                path.write_bytes(wanted)
    return int(checking and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
