"""Read and try the page /docs in Chromium, as a person would: `make test-browser`.

It is apart from the suite, for a machine that runs the suite need not have a browser. Debian's package
chromium will do. `python -m tests.browser SCREENSHOT.png` keeps what was seen.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support import databases
from tests.support.clients import PASSWORD
from tests.support.servers import ROOT, Server, run, serving

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NAME = "mina"


def try_page(browser: str, screenshot: Path) -> int:
    """Return 0 when the page loads from its server alone, and operations answer a signed-in administrator."""
    with tempfile.TemporaryDirectory() as folder, databases.fresh("sqlite", Path(folder)) as database:
        environ = {"TESSERA_DATA_DIR": folder, "TESSERA_DATABASE_URL": database}
        with serving(environ, Path(folder) / "server.log") as server:
            token = _token_of_administrator(server, environ)
            origin = f"http://127.0.0.1:{server.port}"
            command = ["node", "docs.mjs", browser, origin, token, NAME, str(screenshot.resolve())]
            return subprocess.run(command, cwd=ROOT / "tests" / "node", check=False, timeout=120).returncode


def _token_of_administrator(server: Server, environ: Mapping[str, str]) -> str:
    arguments = ("--username", NAME, "--email", f"{NAME}@example.com", "--password-stdin")
    assert run(["user", "create", "--admin", *arguments], environ, PASSWORD).returncode == 0
    answer = server.call("POST", "/v1/sessions", {"identifier": NAME, "password": PASSWORD})
    return str(answer.json["access_token"])


def main() -> int:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"There is no browser; looked for {', '.join(BROWSERS)}.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        return try_page(browser, Path(sys.argv[1] if len(sys.argv) > 1 else f"{folder}/docs.png"))


if __name__ == "__main__":
    sys.exit(main())
