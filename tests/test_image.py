"""The container image and compose.yaml, tried as far as that goes without an engine."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path, PurePosixPath
from string import Template
from typing import Any

import pytest
import yaml

from api.app import all_features
from api.kit.config import KIT_SETTINGS
from tests.conftest import SECRET
from tests.support.ports import free_port
from tests.support.servers import ROOT
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long

DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = ROOT / "compose.yaml"
PRODUCTION = {
    "TESSERA_SECRET_KEY": SECRET,
    "TESSERA_PUBLIC_URL": "https://id.example.com",
    "TESSERA_MAIL_URL": "smtp://127.0.0.1:1",
}
SYSTEM_PATH = "/usr/bin:/bin"
TO_AN_INDEX = re.compile(r"PIP_\w+|(?:HTTPS?|NO)_PROXY|SSL_CERT_FILE|REQUESTS_CA_BUNDLE", re.IGNORECASE)
NO_INDEX = re.compile(
    r"Failed to establish a new connection|Connection (?:refused|reset|aborted)|NameResolutionError|"
    r"Name or service not known|timed out|ProxyError|SSLError",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Step:
    """One instruction: `COPY --from=builder A B` has a flag and two words."""

    keyword: str
    flags: dict[str, str]
    text: str

    @property
    def words(self) -> list[str]:
        return json.loads(self.text) if self.text.startswith("[") else self.text.split()


@dataclass
class Stage:
    """What stands between two FROMs."""

    base: str
    name: str | None
    steps: list[Step] = field(default_factory=list)

    def all(self, keyword: str) -> list[Step]:
        return [step for step in self.steps if step.keyword == keyword]

    def one(self, keyword: str) -> Step:
        (found,) = self.all(keyword)
        return found


def _steps(text: str) -> Iterator[Step]:
    kept = "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))
    for line in filter(str.strip, kept.replace("\\\n", "").splitlines()):
        found = re.fullmatch(r"([A-Z]+)((?:\s+--[a-z-]+=\S+)*)\s+(.*)", line.strip())
        assert found, f"this test cannot read {line!r}"
        flags = dict(flag[2:].split("=", 1) for flag in found[2].split())
        yield Step(found[1], flags, found[3])


def _stages() -> tuple[list[Step], list[Stage]]:
    """Return what precedes the first FROM, and the stages."""
    head: list[Step] = []
    stages: list[Stage] = []
    for step in _steps(DOCKERFILE.read_text()):
        if step.keyword == "FROM":
            base, *rest = step.words
            stages.append(Stage(base, rest[1] if rest else None))
        else:
            (stages[-1].steps if stages else head).append(step)
    return head, stages


def _pairs(text: str) -> dict[str, str]:
    """Return what an ENV, ARG or LABEL declares."""
    return {name: value.strip('"') for name, value in re.findall(r'([\w.]+)=("[^"]*"|\S*)', text)}


HEAD, STAGES = _stages()
LAST = STAGES[-1]


def _pattern(text: str) -> re.Pattern[str]:
    """Translate one pattern of .dockerignore."""
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", text)
    return re.compile("".join(wild.get(part) or re.escape(part) for part in parts))


def _let_through(path: PurePosixPath, ignore: Iterable[str]) -> bool:
    """Tell whether .dockerignore lets a file into the context: the last pattern that fits decides."""
    names = [str(part) for part in (path, *path.parents)]
    answer = True
    for line in ignore:
        pattern = _pattern(line.removeprefix("!").strip("/"))
        if any(pattern.fullmatch(name) for name in names if name != "."):
            answer = line.startswith("!")
    return answer


def _ignore_lines() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _context_files(source: str) -> Iterator[Path]:
    """Yield the files of the context that a COPY of `source` takes, relative to the root."""
    start, ignore = ROOT / source, _ignore_lines()
    for path in [start] if start.is_file() else sorted(start.rglob("*")):
        relative = path.relative_to(ROOT)
        if path.is_file() and _let_through(PurePosixPath(relative), ignore):
            yield relative


class Sandbox:
    """A folder that stands for the root of a container, and what a stage has set in it."""

    def __init__(self, root: Path, path: str) -> None:
        self.root = root
        self.folder = root
        self.environ = {"PATH": path}

    def path(self, text: str) -> Path:
        """Return where a path of the Dockerfile lies here."""
        return self.root / text.removeprefix("/") if text.startswith("/") else self.folder / text

    def rewrite(self, text: str) -> str:
        """Put the root before every absolute path of a command or a value."""
        return re.sub(r"(?<![^\s\"'=:])/(?=[a-z])", f"{self.root}/", text)

    def env(self, step: Step) -> None:
        for name, value in _pairs(step.text).items():
            self.environ[name] = Template(self.rewrite(value)).safe_substitute(self.environ)

    def workdir(self, step: Step) -> None:
        self.folder = self.path(step.text)
        self.folder.mkdir(parents=True, exist_ok=True)

    def copy(self, step: Step) -> None:
        """Copy from the context what .dockerignore lets through."""
        *sources, target = step.words
        for source in sources:
            files = list(_context_files(source))
            assert files, f"COPY finds no {source} in the context"
            for name in files:
                inner = name.relative_to(source) if (ROOT / source).is_dir() else Path(name.name)
                (self.path(target) / inner).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.path(target) / inner)

    def run(self, step: Step) -> None:
        """Run a command as the engine would, with nothing of this machine but pip's way to an index."""
        way = {name: value for name, value in os.environ.items() if TO_AN_INDEX.fullmatch(name)}
        done = subprocess.run(
            ["/bin/sh", "-c", self.rewrite(step.text)],
            cwd=self.folder,
            env=way | {"HOME": str(Path.home())} | self.environ,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode and NO_INDEX.search(done.stderr):
            give_up = pytest.fail if os.environ.get("CI") else pytest.skip
            give_up(f"pip reaches no package index, so the image cannot be tried: {done.stderr[-400:]}")
        assert done.returncode == 0, f"RUN {step.text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def _base_python(folder: Path) -> Path:
    """Make a folder with this Python, not its venv, under the name that the base image gives it."""
    interpreter = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    folder.mkdir()
    (folder / "python").write_text(f'#!/bin/sh\nexec "{interpreter}" "$@"\n')
    (folder / "python").chmod(0o755)
    return folder


@dataclass(frozen=True)
class Image:
    """A folder with what the last stage has, and what it says of running it."""

    root: Path
    environ: dict[str, str]
    elsewhere: Path

    def run(
        self, command: list[str], environ: dict[str, str] = PRODUCTION
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._found(command),
            cwd=self.elsewhere,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def is_healthy(self, environ: dict[str, str]) -> bool:
        """Ask as HEALTHCHECK does."""
        command = json.loads(LAST.one("HEALTHCHECK").text.removeprefix("CMD"))
        return self.run(command, environ).returncode == 0

    @contextmanager
    def serving(self, port: int, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        """Start what ENTRYPOINT and CMD say, and wait until it listens."""
        command = [*LAST.one("ENTRYPOINT").words, *LAST.one("CMD").words]
        log = self.elsewhere / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._found(command),
                cwd=self.elsewhere,
                env=self.environ | PRODUCTION | environ,
                stdout=output,
                stderr=output,
            )
        try:
            wait_until(lambda: _listens(port, process, log), f"the server listens; its log is {log}")
            yield process
        finally:
            process.terminate()
            process.wait(60)

    def _found(self, command: list[str]) -> list[str]:
        """Look the program up in the image's PATH, where it must lie inside the image."""
        program = shutil.which(command[0], path=self.environ["PATH"])
        assert program and Path(program).is_relative_to(self.root), f"{command[0]} is not in the image"
        return [program, *command[1:]]


def _listens(port: int, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, f"the server ended: {log.read_text()}"
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Tessera as the Dockerfile installs it, with its data folder migrated."""
    base = tmp_path_factory.mktemp("image")
    built = Sandbox(base / "root", f"{_base_python(base / 'bin')}:{SYSTEM_PATH}")
    built.root.mkdir()
    kinds = {"RUN": built.run, "COPY": built.copy, "ENV": built.env, "WORKDIR": built.workdir}
    for step in STAGES[0].steps:
        kinds[step.keyword](step)
    # A venv cannot be moved: so the builder moves out, and what COPY --from takes comes back to its place.
    builder = built.root.rename(base / "builder")
    last = Sandbox(base / "root", SYSTEM_PATH)
    for step in LAST.steps:
        if step.keyword == "ENV":
            last.env(step)
        elif step.keyword == "COPY":
            source, target = step.words
            shutil.copytree(builder / source.removeprefix("/"), last.path(target), symlinks=True)
    shutil.rmtree(builder)
    Path(last.environ["TESSERA_DATA_DIR"]).mkdir(parents=True)
    made = Image(last.root, last.environ, tmp_path_factory.mktemp("elsewhere"))
    migrated = made.run(["tessera", "migrate"])
    assert migrated.returncode == 0, migrated.stderr
    return made


def _names_in(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", (ROOT / lock).read_text(), re.MULTILINE))


def _code(root: Path) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in (root / "opt").rglob("*")}


def test_the_command_runs_from_any_folder(image: Image) -> None:
    answer = image.run(["tessera", "--version"], {})
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("tessera, version ")


def test_migrations_come_with_the_wheel(image: Image) -> None:
    assert image.run(["tessera", "migrate", "--check"]).returncode == 0
    assert Path(image.environ["TESSERA_DATA_DIR"], "tessera.db").exists()


def test_production_without_secrets_is_refused(image: Image) -> None:
    answer = image.run(["tessera", "serve"], {})
    assert answer.returncode != 0
    assert "TESSERA_SECRET_KEY" in answer.stderr
    assert "TESSERA_PUBLIC_URL" in answer.stderr


@pytest.mark.parametrize(
    "variables", [{"PORT": "?"}, {"TESSERA_PORT": "?", "PORT": "1"}, {"TESSERA_PORT": "", "PORT": "?"}]
)
def test_it_serves_and_its_health_check_finds_the_port(image: Image, variables: dict[str, str]) -> None:
    port = free_port()
    environ = {name: value.replace("?", str(port)) for name, value in variables.items()}
    assert not image.is_healthy(environ)
    before = _code(image.root)
    with image.serving(port, environ) as process:
        wait_until(lambda: image.is_healthy(environ), "the health check finds the server ready")
        process.send_signal(signal.Signals[LAST.one("STOPSIGNAL").text])
        assert process.wait(60) == 0
    assert _code(image.root) == before, "it wrote where a read-only container cannot"


def test_a_server_on_tables_that_are_behind_is_not_healthy(image: Image, tmp_path: Path) -> None:
    port = free_port()
    environ = {"PORT": str(port), "TESSERA_DATA_DIR": str(tmp_path)}
    with image.serving(port, environ) as process:
        assert not image.is_healthy(environ)
        wait_until(lambda: b"not_ready" in (image.elsewhere / "log").read_bytes(), "it logs why")
        assert process.poll() is None


def test_the_image_has_the_locked_packages_and_no_build_tool(image: Image) -> None:
    (site,) = (image.root / "opt").glob("*/lib/python*/site-packages")
    found = {item.metadata["Name"].lower().replace("_", "-") for item in distributions(path=[str(site)])}
    assert {"tessera", "flask", "granian"} <= found
    assert found <= _names_in("requirements.lock") | {"tessera"}
    assert not list((image.root / "opt").rglob("pip*")), "an installer is in the image"
    assert not found & {"pip", "setuptools", "wheel", "hatchling", "editables"}


def test_nothing_but_the_venv_is_in_the_image(image: Image) -> None:
    assert {path.name for path in image.root.iterdir()} == {"opt", "var"}
    assert [path.name for path in (image.root / "opt").iterdir()] == ["tessera"]


def test_every_module_of_the_image_is_compiled(image: Image) -> None:
    (site,) = (image.root / "opt").glob("*/lib/python*/site-packages")
    for package in ("api", "schemas", "migrations", "flask"):
        for module in (site / package).rglob("*.py"):
            assert list((module.parent / "__pycache__").glob(f"{module.stem}.*.pyc")), f"{module} is not"


def test_both_stages_stand_on_one_base_that_can_be_pinned() -> None:
    (base,) = HEAD
    assert base.keyword == "ARG"
    assert set(_pairs(base.text)) == {"BASE"}
    assert [stage.base for stage in STAGES] == ["${BASE}", "${BASE}"]


def test_every_package_is_installed_by_hash_and_without_a_compiler() -> None:
    commands = [command for step in STAGES[0].all("RUN") for command in step.text.split("&&")]
    installs = [command for command in commands if re.search(r"pip\b.* (install|wheel) ", command)]
    assert installs
    for command in installs:
        hashed = "--require-hashes" in command and "--only-binary :all:" in command
        assert "--no-deps" in command
        assert hashed or "--no-index" in command


def test_the_last_stage_takes_code_from_the_builder_only() -> None:
    assert not LAST.all("ADD")
    for step in LAST.all("COPY"):
        assert step.flags == {"from": STAGES[0].name}
        assert len(set(step.words)) == 1, "a venv cannot be moved"
    for step in LAST.all("RUN"):
        assert not re.search(r"\b(pip|apt-get|apt|curl|wget|git)\b", step.text)


def test_the_last_stage_runs_as_a_number_that_is_not_root() -> None:
    found = re.fullmatch(r"(\d+):(\d+)", LAST.one("USER").text)
    assert found
    user, group = map(int, found.groups())
    assert user > 0 < group
    (making,) = LAST.all("RUN")
    assert f"--uid {user} " in making.text
    assert f"--owner={user} --group={group} --mode=0700 {_image_environ()['TESSERA_DATA_DIR']}" in making.text
    assert not any(step.keyword == "RUN" for step in LAST.steps[LAST.steps.index(LAST.one("USER")) :])


def test_the_last_stage_says_how_to_run_it() -> None:
    assert LAST.one("ENTRYPOINT").text == '["tessera"]'
    assert LAST.one("CMD").text == '["serve"]'
    assert LAST.one("EXPOSE").text == "8000"
    assert LAST.one("STOPSIGNAL").text == "SIGTERM"
    assert LAST.one("VOLUME").words == [_image_environ()["TESSERA_DATA_DIR"]]
    assert set(LAST.one("HEALTHCHECK").flags) == {"interval", "timeout", "start-period", "retries"}


def test_the_image_says_production_and_holds_no_secret() -> None:
    environ = _image_environ()
    assert environ["TESSERA_ENV"] == "production"
    assert environ["TESSERA_HOST"] == "0.0.0.0"  # noqa: S104  # in a container: its network decides who gets there
    assert "TESSERA_PORT" not in environ, "it would win over the PORT of a platform"
    assert set(filter(_is_ours, environ)) <= _variables()
    for stage in STAGES:
        for step in (*stage.all("ENV"), *stage.all("ARG")):
            assert not re.search(r"SECRET|PASSWORD|TOKEN|DATABASE_URL|[_ ]KEY", step.text)


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        ".git/config",
        ".venv/bin/python",
        "api/__pycache__/app.cpython-313.pyc",
        "compose.yaml",
        "migrations/versions/__pycache__/x.pyc",
        "tests/conftest.py",
        "var/secret_key",
        "var/secrets/secret_key",
        "var/tessera.db",
    ],
)
def test_the_context_leaves_out(name: str) -> None:
    assert not _let_through(PurePosixPath(name), _ignore_lines())


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    copied = {word for step in STAGES[0].all("COPY") for word in step.words[:-1]}
    assert {line.removeprefix("!") for line in _ignore_lines() if line.startswith("!")} == copied
    assert _ignore_lines()[0] == "*"


def _image_environ() -> dict[str, str]:
    return {name: value for step in LAST.all("ENV") for name, value in _pairs(step.text).items()}


def _is_ours(name: str) -> bool:
    return name.startswith("TESSERA_")


def _variables() -> set[str]:
    """Return the name of every variable that the service reads."""
    features = all_features().values()
    settings = (*KIT_SETTINGS, *(setting for feature in features for setting in feature.settings))
    return {name for s in settings for name in (s.variable, f"{s.variable}_FILE")}


def _services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return services


def test_every_service_is_hardened() -> None:
    for name, service in _services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service), name


def test_the_server_starts_on_a_migrated_database() -> None:
    services = _services()
    ready = {"condition": "service_healthy"}
    migrated = {"condition": "service_completed_successfully"}
    assert services["tessera"]["depends_on"] == {"database": ready, "migrate": migrated}
    assert services["migrate"]["depends_on"] == {"database": ready}
    assert services["migrate"]["command"] == ["migrate"]
    assert services["migrate"]["image"] == services["tessera"]["image"]
    assert services["tessera"]["stop_grace_period"] == "30s"


def test_compose_sets_what_the_service_reads_and_no_secret_as_a_variable() -> None:
    secrets = yaml.safe_load(COMPOSE.read_text())["secrets"]
    for service in _services().values():
        ours = set(filter(_is_ours, service["environment"]))
        assert ours <= _variables()
        assert not {"TESSERA_SECRET_KEY", "TESSERA_DATABASE_URL", "POSTGRES_PASSWORD"} & ours
        for name, value in service["environment"].items():
            if name.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in service["secrets"]
    for secret in secrets.values():
        assert secret["file"].startswith("var/"), "git and the build context leave that folder out"


def _tool(name: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return found or pytest.skip(f"{name} is not installed")


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [_tool("hadolint"), "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_compose_keeps_to_the_specification() -> None:
    done = subprocess.run(
        [_tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
