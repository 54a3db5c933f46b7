"""Settings: read strictly, refused by name and never by value; secrets; features switched on and off."""

import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api.app import create_app
from api.kit.config import CORS_ORIGINS, DATABASE_URL, PUBLIC_URL, SECRET_KEY
from api.kit.feature import Feature, selected
from api.kit.secrets import Seal, derive, kept_secret, read_secret_keys
from api.kit.settings import Setting, Settings, SettingsError, integer, one_of, some_of, text, words
from tests.conftest import SECRET, MakeApp
from tests.support import databases
from tests.support.clients import Person, client_of, contract_of, new_person
from tests.support.servers import ROOT

pytestmark = databases.ON_SQLITE

NEW = "1d7e0b52c8f3496ab0e5d4c3f2a19087"
CANARY = "canary-7f3a9c"

PORT = Setting("PORT", "A port.", 8000, integer(1, 65535), aliases=("PORT", "HTTP_PORT"))
COLOUR = Setting("COLOUR", "A colour.", "red", one_of("red", "green"))
SHAPES: Setting[tuple[str, ...]] = Setting("SHAPES", "Shapes.", ("disc",), some_of("disc", "ring"))
NAMES: Setting[tuple[str, ...]] = Setting("NAMES", "Names.", (), words)
TITLE = Setting("TITLE", "A title.", "", text)
FOLDER = Setting("FOLDER", "A folder.", Path("var"), Path)
DOUBLE = Setting("DOUBLE", "Twice the port.", lambda settings: settings[PORT] * 2, integer(1, 200000))
ALL: tuple[Setting[Any], ...] = (PORT, COLOUR, SHAPES, NAMES, TITLE, FOLDER, DOUBLE)


def read(**environ: str) -> Settings:
    return Settings(ALL, environ)


def errors_of(make: Callable[[], Any]) -> list[str]:
    """Return the lines of the refusal to start."""
    with pytest.raises(SettingsError) as refusal:
        make()
    return refusal.value.errors


# Kinds


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        (PORT, "1", 1),
        (PORT, "65535", 65535),
        (PORT, "08000", 8000),
        (COLOUR, "green", "green"),
        (SHAPES, "ring", ("ring",)),
        (SHAPES, " ring , disc ", ("ring", "disc")),
        (NAMES, "a,b", ("a", "b")),
        (NAMES, " a ,, b, ", ("a", "b")),
        (TITLE, " as it is ", " as it is "),
        (FOLDER, "/srv/x", Path("/srv/x")),
    ],
)
def test_a_value_that_fits_is_read(setting: Setting[Any], value: str, expected: Any) -> None:
    assert read(**{setting.variable: value})[setting] == expected


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        (PORT, "0"),
        (PORT, "65536"),
        (PORT, "-1"),
        (PORT, "+1"),
        (PORT, "1.0"),
        (PORT, "1e3"),
        (PORT, "0x10"),
        (PORT, "1_000"),
        (PORT, " 80"),
        (PORT, "\u0661"),
        (PORT, "\u00b2"),
        (PORT, "8" * 5000),
        (PORT, CANARY),
        (COLOUR, "RED"),
        (COLOUR, "red "),
        (COLOUR, CANARY),
        (SHAPES, ","),
        (SHAPES, f"ring,{CANARY}"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name_and_not_repeated(
    setting: Setting[Any], value: str
) -> None:
    [error] = errors_of(lambda: read(**{setting.variable: value}))
    assert error.startswith(f"{setting.variable}: must be ")
    assert len(value) < 3 or value not in error
    assert CANARY not in error


def test_all_that_does_not_fit_is_told_at_once() -> None:
    errors = errors_of(lambda: read(TESSERA_PORT="x", TESSERA_COLOUR="x", TESSERA_SHAPES="x"))
    assert [error.partition(":")[0] for error in errors] == [
        "TESSERA_PORT",
        "TESSERA_COLOUR",
        "TESSERA_SHAPES",
    ]


def test_what_is_not_set_has_its_default() -> None:
    settings = read()
    assert [settings[s] for s in ALL] == [8000, "red", ("disc",), (), "", Path("var"), 16000]


def test_a_default_may_depend_on_other_settings() -> None:
    assert read(TESSERA_PORT="9000")[DOUBLE] == 18000


def test_a_default_is_made_once() -> None:
    made: list[int] = []

    def make(_: Settings) -> str:
        made.append(1)
        return "made"

    setting = Setting("MADE", "Made.", make, text)
    settings = Settings([setting], {})
    assert [settings[setting], settings[setting]] == ["made", "made"]
    assert made == [1]


@pytest.mark.parametrize("variable", ["TESSERA_PORT", "PORT", "TESSERA_PORT_FILE", "TESSERA_COLOUR"])
def test_an_empty_variable_counts_as_unset(variable: str) -> None:
    settings = read(**{variable: ""})
    assert (settings[PORT], settings[COLOUR]) == (8000, "red")
    assert settings.source(PORT) is None


def test_an_alias_is_read() -> None:
    settings = read(PORT="9000")
    assert (settings[PORT], settings.source(PORT)) == (9000, "PORT")


def test_the_own_name_wins_over_an_alias() -> None:
    assert read(PORT="9000", TESSERA_PORT="9001")[PORT] == 9001
    assert read(PORT="9000", HTTP_PORT="9002")[PORT] == 9000


def test_an_unfit_alias_is_refused_by_its_own_name() -> None:
    [error] = errors_of(lambda: read(PORT="x"))
    assert error.startswith("PORT: ")


def test_the_port_that_platforms_give_is_read() -> None:
    environ = {"PORT": "9000", "TESSERA_DATA_DIR": "/nonexistent", "TESSERA_SECRET_KEY": SECRET}
    url = create_app(environ | {"TESSERA_DATABASE_URL": "postgresql://h/n"}).extensions["tessera"].settings
    assert url[PUBLIC_URL] == "http://127.0.0.1:9000"


# Files


def test_a_value_may_be_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "port"
    path.write_text("9000\n")
    settings = read(TESSERA_PORT_FILE=str(path))
    assert (settings[PORT], settings.source(PORT)) == (9000, "TESSERA_PORT_FILE")


def test_the_variable_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "port"
    path.write_text("9000")
    assert read(TESSERA_PORT="9001", TESSERA_PORT_FILE=str(path))[PORT] == 9001


def test_an_unfit_file_is_refused_by_its_variable_and_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "port"
    path.write_text(CANARY)
    [error] = errors_of(lambda: read(TESSERA_PORT_FILE=str(path)))
    assert error.startswith("TESSERA_PORT_FILE: ")
    assert CANARY not in error


@pytest.mark.parametrize("content", [None, b"\xff\xfe", "folder"])
def test_a_file_that_cannot_be_read_is_refused_by_its_variable(tmp_path: Path, content: Any) -> None:
    path = tmp_path / CANARY
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    [error] = errors_of(lambda: read(TESSERA_PORT_FILE=str(path)))
    assert "TESSERA_PORT_FILE" in error
    assert CANARY not in error


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    environ = _production(tmp_path) | {"TESSERA_SECRET_KEY": "", "TESSERA_SECRET_KEY_FILE": str(path)}
    assert _secrets(create_app(environ)) == _secrets(create_app(_production(tmp_path)))


# Names that nothing reads


def test_a_variable_that_nothing_reads_is_found() -> None:
    settings = read(TESSERA_PROT="1", TESSERA_COLOUR="red", TESSERA_PORT_FILE="", PATH="/bin", TESSERA="x")
    assert settings.unknown == ["TESSERA_PROT"]


def test_the_variables_of_a_feature_that_is_off_are_unknown(tmp_path: Path) -> None:
    environ = _production(tmp_path) | {"TESSERA_ACCESS_TOKEN_SECONDS": "60"}
    on, off = (
        create_app(environ),
        create_app(environ | {"TESSERA_FEATURES": "-sessions,-passwords,-notices,-emails"}),
    )
    assert on.extensions["tessera"].settings.unknown == []
    assert off.extensions["tessera"].settings.unknown == ["TESSERA_ACCESS_TOKEN_SECONDS"]


# URLs


@pytest.mark.parametrize(
    "value",
    [
        CANARY,
        f"ftp://{CANARY}",
        f"//{CANARY}",
        "http://",
        f"https://{CANARY}/?q=1",
        f"https://{CANARY}/#f",
        f"http://[{CANARY}]/",
        f"http://[{CANARY}",
        f"http://{CANARY}\u2100.example",
        f"http://{CANARY}:port",
        f"http://{CANARY}:99999",
        f"http://{CANARY} .example",
    ],
)
def test_an_unfit_public_url_is_refused_and_not_repeated(tmp_path: Path, value: str) -> None:
    [error] = errors_of(lambda: create_app(_production(tmp_path) | {"TESSERA_PUBLIC_URL": value}))
    assert error.startswith("TESSERA_PUBLIC_URL: ")
    assert CANARY not in error


def test_a_public_url_loses_its_last_slash() -> None:
    assert Settings([PUBLIC_URL], {"TESSERA_PUBLIC_URL": "https://a.example/"})[PUBLIC_URL] == (
        "https://a.example"
    )


def test_a_public_url_with_a_path_is_refused() -> None:
    with pytest.raises(SettingsError, match="TESSERA_PUBLIC_URL: must be"):
        Settings([PUBLIC_URL], {"TESSERA_PUBLIC_URL": "https://a.example/id"})


@pytest.mark.parametrize(
    "value",
    [
        "https://app.example.com",
        "http://localhost:3000",
        "https://[2001:db8::1]:8443",
        "https://xn--bcher-kva.example",
        "https://a.example, http://127.0.0.1:5173 ,https://b.example:65535",
    ],
)
def test_origins_are_taken_as_browsers_write_them(value: str) -> None:
    origins = Settings([CORS_ORIGINS], {"TESSERA_CORS_ORIGINS": value})[CORS_ORIGINS]
    assert origins == tuple(value.replace(" ", "").split(","))


@pytest.mark.parametrize(
    "value",
    [
        "*",
        "null",
        "https://*.example.com",
        "https://app.example.com/",
        "https://app.example.com/app",
        "https://app.example.com?q",
        "https://App.example.com",
        "HTTPS://app.example.com",
        "https://app.example.com:443",
        "http://app.example.com:80",
        "https://app.example.com:0",
        "https://app.example.com:65536",
        "https://app.example.com:",
        "https://user@app.example.com",
        "https://app..example.com",
        "https://app.example.com.",
        "https://b\u00fccher.example",
        "https://",
        "app.example.com",
        "//app.example.com",
        "ftp://app.example.com",
        "https://app.example.com\nhttps://b.example",
        "https://app.example.com https://b.example",
        "https://app.example.com,*",
        "https://app.example.com;https://b.example",
    ],
)
def test_what_no_browser_writes_is_no_origin(tmp_path: Path, value: str) -> None:
    [error] = errors_of(lambda: create_app(_production(tmp_path) | {"TESSERA_CORS_ORIGINS": value}))
    assert error.startswith("TESSERA_CORS_ORIGINS: must be origins such as https://app.example.com")


def test_a_setting_that_nothing_declares_is_not_read() -> None:
    with pytest.raises(LookupError, match="TESSERA_PUBLIC_URL"):
        Settings([], {})[PUBLIC_URL]


def test_several_hosts_of_postgresql_are_read() -> None:
    value = "postgresql://u:p@a:5432,b:5433/name"
    url = Settings([DATABASE_URL], {"TESSERA_DATABASE_URL": value})[DATABASE_URL]
    assert url == "postgresql+psycopg://u:p@/name?host=a:5432&host=b:5433"


@pytest.mark.parametrize(
    "value",
    [
        CANARY,
        f"mysql://u:{CANARY}@h/n",
        f"postgresql+asyncpg://u:{CANARY}@h/n",
        f"sqlite://{CANARY}",
        "sqlite://",
        "sqlite:///:memory:",
        f"postgresql:{CANARY}",
        f"postgresql://u:{CANARY}@h:port/n",
        f"postgresql://u:{CANARY}@[h/n",
        f"sqlite+aiosqlite:///{CANARY}",
    ],
)
def test_an_unfit_database_url_is_refused_and_not_repeated(tmp_path: Path, value: str) -> None:
    [error] = errors_of(lambda: create_app(_production(tmp_path) | {"TESSERA_DATABASE_URL": value}))
    assert error.startswith("TESSERA_DATABASE_URL: ")
    assert CANARY not in error


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_always_driven_by_psycopg(scheme: str) -> None:
    settings = Settings([DATABASE_URL], {"TESSERA_DATABASE_URL": f"{scheme}://u:p@h:5432/n?sslmode=require"})
    assert settings[DATABASE_URL] == "postgresql+psycopg://u:p@h:5432/n?sslmode=require"


# Production


def _production(folder: Path) -> dict[str, str]:
    return {
        "TESSERA_ENV": "production",
        "TESSERA_SECRET_KEY": SECRET,
        "TESSERA_PUBLIC_URL": "https://id.example.com",
        "TESSERA_MAIL_URL": "smtp://mail.example.com",
        "TESSERA_DATABASE_URL": "postgresql://127.0.0.1:1/none",
        "TESSERA_DATA_DIR": str(folder),
    }


@pytest.mark.parametrize("name", ["TESSERA_SECRET_KEY", "TESSERA_PUBLIC_URL", "TESSERA_MAIL_URL"])
@pytest.mark.parametrize("value", [None, ""])
def test_production_does_not_start_without(tmp_path: Path, name: str, value: str | None) -> None:
    environ = _production(tmp_path)
    del environ[name]
    if value is not None:
        environ[name] = value
    [error] = errors_of(lambda: create_app(environ))
    assert error.startswith(f"{name}: ")
    assert list(tmp_path.iterdir()) == []


def test_production_names_all_that_it_misses(tmp_path: Path) -> None:
    environ = {"TESSERA_ENV": "production", "TESSERA_DATA_DIR": str(tmp_path)}
    names = [error.partition(":")[0] for error in errors_of(lambda: create_app(environ))]
    assert names == ["TESSERA_SECRET_KEY", "TESSERA_PUBLIC_URL", "TESSERA_MAIL_URL"]


UNFIT_SECRETS = [
    "x",
    SECRET[:31],
    "a" * 64,
    "abcabcabcabcabcabcabcabcabcabcabcabc",
    "changeme-7f3a9c1d5e8b2a4c6f0d9e3b",
    "CHANGE-ME-7f3a9c1d5e8b2a4c6f0d9e3b",
    "my-secret-7f3a9c1d5e8b2a4c6f0d9e3b",
    "password7f3a9c1d5e8b2a4c6f0d9e3b1c",
    "example7f3a9c1d5e8b2a4c6f0d9e3b1c4",
    "tessera-7f3a9c1d5e8b2a4c6f0d9e3b1c",
    f"{SECRET},short",
    f"short,{SECRET}",
    f"{SECRET},",
    ",",
]


@pytest.mark.parametrize("env", ["production", "development"])
@pytest.mark.parametrize("secret", UNFIT_SECRETS)
def test_a_secret_that_can_be_guessed_is_refused_and_not_repeated(
    tmp_path: Path, env: str, secret: str
) -> None:
    environ = _production(tmp_path) | {"TESSERA_SECRET_KEY": secret, "TESSERA_ENV": env}
    [error] = errors_of(lambda: create_app(environ))
    assert error.startswith("TESSERA_SECRET_KEY: ")
    assert secret[:12] not in error or len(secret) < 12


@pytest.mark.parametrize("env", ["prod", "Production", "production ", "test", CANARY])
def test_an_environment_that_is_none_is_refused(tmp_path: Path, env: str) -> None:
    [error] = errors_of(lambda: create_app(_production(tmp_path) | {"TESSERA_ENV": env}))
    assert error.startswith("TESSERA_ENV: ")


def test_a_command_ends_without_a_traceback_and_names_the_setting(tmp_path: Path) -> None:
    environ = _production(tmp_path) | {"TESSERA_SECRET_KEY": f"{CANARY}-short", "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(
        [sys.executable, "-m", "api", "serve"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode != 0
    assert "TESSERA_SECRET_KEY" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert CANARY not in ended.stderr + ended.stdout


# Secrets


def _secrets(app: Flask) -> tuple[str, ...]:
    found: tuple[str, ...] = app.extensions["tessera"].settings[SECRET_KEY]
    return found


def test_several_secrets_are_read_newest_first() -> None:
    assert read_secret_keys(f"{NEW} , {SECRET}") == (NEW, SECRET)


def test_each_secret_and_each_purpose_has_a_key_of_its_own() -> None:
    keys = {derive(secret, purpose) for secret in (SECRET, NEW) for purpose in ("a", "b", "ab")}
    assert len(keys) == 6
    assert {len(key) for key in keys} == {32}


def test_a_key_is_the_same_each_time() -> None:
    assert derive(SECRET, "a", 40) == derive(SECRET, "a", 40)


def test_an_access_token_is_good_as_long_as_a_secret_opens_its_key(make_isolated: MakeApp) -> None:
    mina = new_person(make_isolated())
    statuses = [
        client_of(make_isolated(SECRET_KEY=keys)).get("/v1/users/me", headers=mina.bearer).status_code
        for keys in (NEW, f"{NEW},{SECRET}", NEW)
    ]
    assert statuses == [401, 200, 401]


def test_a_refresh_token_outlives_a_rotation(make_isolated: MakeApp) -> None:
    mina = new_person(make_isolated())
    rotated = client_of(make_isolated(SECRET_KEY=f"{NEW},{SECRET}"))
    body = {"refresh_token": mina.tokens["refresh_token"]}
    response = rotated.post("/v1/sessions/refresh", json=body)
    assert response.status_code == 200
    assert Person(rotated, mina.user, response.get_json()).refresh().status_code == 200


def test_a_refresh_token_ends_with_its_secret(make_isolated: MakeApp) -> None:
    mina = new_person(make_isolated())
    body = {"refresh_token": mina.tokens["refresh_token"]}
    response = client_of(make_isolated(SECRET_KEY=NEW)).post("/v1/sessions/refresh", json=body)
    assert (response.status_code, response.get_json(force=True)["code"]) == (401, "invalid_refresh_token")


def test_a_cursor_outlives_a_rotation_and_not_the_end_of_its_secret(
    make_isolated: MakeApp,
) -> None:
    app = make_isolated()
    admin = new_person(app, admin=True)
    new_person(app)
    cursor = admin.call("GET", "/v1/users?limit=1").get_json()["next_cursor"]
    rotated = client_of(make_isolated(SECRET_KEY=f"{NEW},{SECRET}"))
    path = f"/v1/users?limit=1&cursor={cursor}"
    assert rotated.get(path, headers=admin.bearer).status_code == 200
    dropped = client_of(make_isolated(SECRET_KEY=NEW))
    later = Person(dropped, admin.user)
    later.tokens = later.sign_in()
    assert later.call("GET", path).status_code == 422


def test_what_is_sealed_is_opened_by_every_secret_and_sealed_by_the_newest() -> None:
    old, new = derive(SECRET, "seal"), derive(NEW, "seal")
    assert Seal([new, old]).open(Seal([old]).close(b"content")) == b"content"
    assert Seal([new]).open(Seal([new, old]).close(b"content")) == b"content"


@pytest.mark.parametrize("change", [slice(1, None), slice(None, -1)])
def test_what_was_sealed_by_nobody_here_is_not_opened(change: slice) -> None:
    seal = Seal([derive(SECRET, "seal")])
    for sealed in (Seal([derive(NEW, "seal")]).close(b"content"), seal.close(b"content")[change], ""):
        with pytest.raises(ValueError, match="sealed"):
            seal.open(sealed)


def test_development_makes_a_secret_once(tmp_path: Path) -> None:
    environ = {"TESSERA_DATA_DIR": str(tmp_path / "deep" / "var")}
    assert _secrets(create_app(environ)) == _secrets(create_app(environ))


def test_two_data_folders_have_two_secrets(tmp_path: Path) -> None:
    first, second = (create_app({"TESSERA_DATA_DIR": str(tmp_path / name)}) for name in "ab")
    assert _secrets(first) != _secrets(second)


def test_the_secret_that_is_made_is_its_owners_only(tmp_path: Path) -> None:
    create_app({"TESSERA_DATA_DIR": str(tmp_path)})
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600


def test_the_secret_that_is_made_would_do_in_production(tmp_path: Path) -> None:
    [secret] = kept_secret(tmp_path)
    assert read_secret_keys(secret) == (secret,)
    assert len(secret) >= 64


def test_nothing_but_the_secret_is_left_in_the_folder(tmp_path: Path) -> None:
    kept_secret(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_processes_that_start_at_once_get_the_same_secret(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from api.kit.secrets import kept_secret; print('ready', flush=True);"
        "sys.stdin.readline(); print(*kept_secret(pathlib.Path(sys.argv[1])), flush=True)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    secrets = {process.communicate(timeout=30)[0] for process in started}
    assert len(secrets) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


# Features


def _features(tmp_path: Path, wanted: str) -> list[str]:
    app = create_app(_production(tmp_path) | {"TESSERA_FEATURES": wanted})
    return [feature.name for feature in app.extensions["tessera"].features]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("users,sessions", {"users", "sessions"}),
        (" sessions , users ", {"users", "sessions"}),
        ("users,sessions,-sessions", {"users"}),
        ("health", {"health"}),
    ],
)
def test_features_are_switched_on_by_name(tmp_path: Path, wanted: str, expected: set[str]) -> None:
    assert set(_features(tmp_path, wanted)) == expected


def test_a_minus_leaves_one_of_all_out(tmp_path: Path) -> None:
    every = set(_features(tmp_path, ""))
    assert set(_features(tmp_path, "-passwords")) == every - {"passwords"}


def test_a_feature_comes_after_those_that_it_requires(tmp_path: Path) -> None:
    assert _features(tmp_path, "sessions,users") == ["users", "sessions"]


@pytest.mark.parametrize("wanted", ["nothing", "-nothing", "users,nothing", "Users", "-", "--users"])
def test_an_unknown_feature_is_refused(tmp_path: Path, wanted: str) -> None:
    [error] = errors_of(lambda: _features(tmp_path, wanted))
    assert error.startswith("TESSERA_FEATURES: ")


@pytest.mark.parametrize("wanted", ["sessions", "-users"])
def test_a_feature_does_not_start_without_those_that_it_requires(tmp_path: Path, wanted: str) -> None:
    errors = errors_of(lambda: _features(tmp_path, wanted))
    assert all(error.startswith("TESSERA_FEATURES: ") for error in errors)
    assert any("'sessions' requires 'users'" in error for error in errors)


def test_features_that_require_each_other_are_refused() -> None:
    features = {
        name: Feature(name=name, summary="One of two.", requires=(other,)) for name, other in ("ab", "ba")
    }
    [error] = errors_of(lambda: selected(features, ()))
    assert "circle" in error


def test_a_feature_that_is_off_leaves_nothing_behind(tmp_path: Path) -> None:
    app = create_app(_production(tmp_path) | {"TESSERA_FEATURES": "-sessions,-passwords,-notices,-emails"})
    client = client_of(app)
    document: Mapping[str, Any] = contract_of(app).document
    assert client.post("/v1/sessions", json={}).status_code == 404
    assert client.get("/problems/refresh_token_reused").status_code == 404
    assert "sessions" not in client.get("/v1/config").get_json()["features"]
    assert not [path for path in document["paths"] if "sessions" in path or "jwks" in path]
    assert "sessions" not in [tag["name"] for tag in document["tags"]]
    declared = {setting.name for setting in app.extensions["tessera"].settings.declared}
    assert "ACCESS_TOKEN_SECONDS" not in declared
