"""The settings of the kit itself, and what production asks of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from api.kit.secrets import kept_secret, read_secret_keys
from api.kit.settings import Setting, Settings, SettingsError, integer, one_of, text, words


def _read_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be an absolute http or https URL without query or fragment")
    return value.rstrip("/")


def _read_database_url(value: str) -> str:
    """Read an SQLAlchemy URL; PostgreSQL is always driven by psycopg 3."""
    scheme, separator, rest = value.partition("://")
    if scheme in ("postgres", "postgresql", "postgresql+psycopg") and separator:
        return f"postgresql+psycopg://{rest}"
    if scheme == "sqlite" and rest.startswith("/") and rest != "/:memory:":
        return value
    raise ValueError("must be postgresql://user:password@host/name or sqlite:///path")


def _default_secret(settings: Settings) -> tuple[str, ...]:
    return kept_secret(settings[DATA_DIR])


def _default_database(settings: Settings) -> str:
    settings[DATA_DIR].mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{settings[DATA_DIR].resolve() / 'tessera.db'}"


def _default_public_url(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings[PORT]}"


ENV = Setting(
    "ENV",
    "`production` refuses to start without a secret and a public URL.",
    "development",
    one_of("development", "production"),
)
SECRET_KEY = Setting(
    "SECRET_KEY",
    "The secret that every other key is derived from, at least 32 characters; several, separated "
    "by commas and the newest first, to rotate.",
    _default_secret,
    read_secret_keys,
    default_text="made on first start, kept in the data folder",
    secret=True,
    required=True,
)
DATA_DIR = Setting(
    "DATA_DIR", "Folder of the SQLite file, the generated secret and the locks.", Path("var"), Path
)
DATABASE_URL = Setting(
    "DATABASE_URL",
    "`postgresql://user:password@host/name`, or `sqlite:///path`.",
    _default_database,
    _read_database_url,
    default_text="`tessera.db` in the data folder",
    secret=True,
)
HOST = Setting("HOST", "Address to listen on.", "127.0.0.1", text)
PORT = Setting(
    "PORT", "Port to listen on; `PORT` is read as well.", 8000, integer(1, 65535), aliases=("PORT",)
)
WORKERS = Setting("WORKERS", "Server processes.", 1, integer(1, 256))
THREADS = Setting(
    "THREADS",
    "Requests that one process works on at once; it opens at most as many database connections.",
    16,
    integer(4, 256),
)
PUBLIC_URL = Setting(
    "PUBLIC_URL",
    "URL under which clients reach the service: the source of every link, of `iss` and of `aud`.",
    _default_public_url,
    _read_url,
    default_text="`http://127.0.0.1:PORT`",
    required=True,
)
FEATURES: Setting[tuple[str, ...]] = Setting(
    "FEATURES",
    "Features to switch on, separated by commas; `-name` leaves one out of all.",
    (),
    words,
    default_text="all",
)

KIT_SETTINGS: tuple[Setting[Any], ...] = (
    ENV,
    SECRET_KEY,
    DATA_DIR,
    DATABASE_URL,
    HOST,
    PORT,
    WORKERS,
    THREADS,
    PUBLIC_URL,
    FEATURES,
)


def in_production(settings: Settings) -> bool:
    return settings[ENV] == "production"


def refuse_unfit_for_production(settings: Settings) -> None:
    """Raise SettingsError, naming every setting that production must have and does not."""
    if not in_production(settings):
        return
    missing = [f"{name}: is required in production" for name in _missing(settings)]
    if missing:
        raise SettingsError(missing)


def _missing(settings: Settings) -> Iterable[str]:
    return (s.variable for s in settings.declared if s.required and settings.source(s) is None)
