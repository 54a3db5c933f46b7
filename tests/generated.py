"""What is generated and checked in (`python -m tests.generated`).

That is openapi.yaml, the README's tables, and the catalogues of translations.
"""

import secrets
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from api.app import all_features, create_app
from api.kit import openapi
from api.kit.config import KIT_SETTINGS
from api.kit.feature import Feature
from tests import translations
from tests.support.servers import ROOT

OPENAPI = ROOT / "openapi.yaml"
README = ROOT / "README.md"


def current() -> Iterator[tuple[Path, bytes]]:
    """Yield every file, and what it should hold."""
    yield OPENAPI, openapi_yaml().encode()
    yield README, with_tables(README.read_text(encoding="utf-8")).encode()
    for translated in translations.ALL:
        yield from translations.current(translated)


def openapi_yaml() -> str:
    """Return the document of all of Tessera's own features in production, with the default settings."""
    own = ",".join(name for name in all_features() if _is_own(name))
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(
            {
                "TESSERA_ENV": "production",
                "TESSERA_SECRET_KEY": secrets.token_hex(32),
                "TESSERA_PUBLIC_URL": "http://127.0.0.1:8000",
                "TESSERA_MAIL_URL": f"file:{folder}",
                "TESSERA_DATA_DIR": folder,
                "TESSERA_FEATURES": own,
            }
        )
        return openapi.as_yaml(openapi.document(app.extensions["tessera"]))


def with_tables(readme: str) -> str:
    """Return the README with its tables made anew."""
    for name, table in (("features", feature_table()), ("settings", setting_table())):
        start, end = f"<!-- {name}: generated -->\n", f"<!-- end of {name} -->"
        before, _, rest = readme.partition(start)
        readme = f"{before}{start}{table}{end}{rest.partition(end)[2]}"
    return readme


def feature_table() -> str:
    rows = [f"| `{f.name}` | {f.summary} | {', '.join(_operations(f))} |\n" for f in _own_features()]
    return "| feature | what it is for | operations |\n|---|---|---|\n" + "".join(rows)


def setting_table() -> str:
    rows = []
    for group, settings in (("kit", KIT_SETTINGS), *((f.name, f.settings) for f in _own_features())):
        rows += [f"| `{s.variable}` | {s.describe_default()} | {s.help} | {group} |\n" for s in settings]
    return "| variable | default | meaning | feature |\n|---|---|---|---|\n" + "".join(rows)


def _operations(feature: Feature) -> Iterator[str]:
    for _path, resource in feature.resources:
        for method in sorted(resource.methods or ()):
            declared = getattr(getattr(resource, method.lower()), "operation_id", "")
            yield f"`{declared}`"


def _own_features() -> list[Feature]:
    return [feature for name, feature in all_features().items() if _is_own(name)]


def _is_own(name: str) -> bool:
    return (ROOT / "api" / name / "__init__.py").exists()


def main() -> int:
    """Write what is stale; with --check only say so, and return 1."""
    stale = [(path, wanted) for path, wanted in current() if not path.exists() or path.read_bytes() != wanted]
    for path, wanted in stale:
        if "--check" in sys.argv:
            print(f"{path.relative_to(ROOT)} is stale; run: make docs")
        else:
            path.write_bytes(wanted)
            print(f"wrote {path.relative_to(ROOT)}")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
