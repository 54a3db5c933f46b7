"""The commands of our guides, run as their readers would."""

import os
import re
import subprocess
from pathlib import Path

ADDRESS = "http://127.0.0.1:8000"  # of the service, in every guide


def blocks_of(guide: Path) -> list[str]:
    """Return the shell blocks of a guide."""
    return re.findall(r"^```sh\n(.*?)^```", guide.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def run_blocks(blocks: list[str], folder: Path, port: int, **environ: str) -> list[str]:
    """Run blocks in one shell, in a folder, against the service on a port; return what each has written."""
    script = "".join(f"echo; echo '@@ {number}'\n{block}" for number, block in enumerate(blocks))
    done = subprocess.run(
        ["bash", "-euc", script.replace(ADDRESS, f"http://127.0.0.1:{port}")],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split("@@ ")[1:]
