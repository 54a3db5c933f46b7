"""The settings of the kit itself, and what production asks of them."""

import re
from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from api.kit.secrets import kept_secret, read_secret_keys
from api.kit.settings import Limit, Setting, Settings, SettingsError, integer, limit, one_of, text, words

SERVICE_NAME = "Tessera"
MAXIMUM_PORT = 65535
# Scheme, host and port: links are made by putting a path behind it.
_URL = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?/?")
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:(?P<port>[1-9][0-9]{0,4}))?"
)
_REDIS_URL = re.compile(
    r"rediss?://([^@/\s]*@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[0-9]{0,4})?"
)


def _read_url(value: str) -> str:
    match = _URL.fullmatch(value)
    if match is None or int(match["port"] or 0) > MAXIMUM_PORT:
        raise ValueError("must be http:// or https:// with a host and maybe a port, and nothing behind")
    return value.rstrip("/")


def _read_database_url(value: str) -> str:
    """Read an SQLAlchemy URL; PostgreSQL is always driven by psycopg 3."""
    scheme, _, rest = value.partition("://")
    if scheme in ("postgres", "postgresql"):
        value = f"postgresql+psycopg://{_several_hosts(rest)}"
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        url = None  # whose message may hold the password
    if url is None or not (_is_postgresql(url) or _is_sqlite_file(url)):
        raise ValueError("must be postgresql://user:password@host/name or sqlite:///path")
    return value


def _several_hosts(rest: str) -> str:
    """Write `user@a:1,b:2/name` as SQLAlchemy reads several hosts: `user@/name?host=a:1&host=b:2`."""
    authority, slash, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    if "," not in hosts:
        return rest
    name, _, query = path.partition("?")
    parameters = "&".join([*(f"host={host}" for host in hosts.split(",")), *filter(None, [query])])
    return f"{user}{at}{slash}{name}?{parameters}"


def _is_postgresql(url: URL) -> bool:
    return url.drivername == "postgresql+psycopg" and bool(url.database) and "[" not in (url.host or "")


def _is_sqlite_file(url: URL) -> bool:
    is_file = url.database not in (None, "", ":memory:")
    return url.drivername == "sqlite" and not url.host and not url.query and is_file


def _read_networks(value: str) -> tuple[str, ...]:
    """Read networks, or single addresses, separated by commas."""
    try:
        return tuple(str(ip_network(word)) for word in words(value))
    except ValueError as error:
        raise ValueError("must be networks such as 10.0.0.0/8 or fd00::/8, separated by commas") from error


def _read_origins(value: str) -> tuple[str, ...]:
    """Read the origins of web pages, separated by commas, each as a browser writes it (RFC 6454)."""
    origins = words(value)
    if not all(map(_is_origin, origins)):
        raise ValueError(
            "must be origins such as https://app.example.com or http://localhost:3000, separated by commas: "
            "the host in lower case, the port unless it is the scheme's own, and nothing behind"
        )
    return origins


def _is_origin(value: str) -> bool:
    match = _ORIGIN.fullmatch(value)
    own_port = {"http": "80", "https": "443"}
    return (
        match is not None
        and match["port"] != own_port[match["scheme"]]
        and int(match["port"] or 0) <= MAXIMUM_PORT
    )


def _read_redis_url(value: str) -> str:
    if not _REDIS_URL.fullmatch(value):
        raise ValueError("must be redis://host:port/number or rediss://..., maybe with user:password@")
    return value


def _default_secret(settings: Settings) -> tuple[str, ...]:
    folder = data_folder(settings)
    try:
        return kept_secret(folder)
    except (OSError, ValueError) as error:
        raise SettingsError([f"{folder / 'secret_key'}: {error}"]) from error


def _default_database(settings: Settings) -> str:
    file = str(data_folder(settings) / "tessera.db")
    if "?" in file:
        raise SettingsError([f"{DATA_DIR.variable}: may not hold a question mark, or set DATABASE_URL"])
    return f"sqlite:///{file}"


def _default_public_url(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings[PORT]}"


ENV = Setting(
    "ENV",
    "`production` refuses to start without a secret, a public URL and a mail server.",
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
    "`postgresql://user:password@host/name`, with several hosts separated by commas, or `sqlite:///path`.",
    _default_database,
    _read_database_url,
    default_text="`tessera.db` in the data folder",
    secret=True,
)
HOST = Setting("HOST", "Address to listen on.", "127.0.0.1", text)
PORT = Setting(
    "PORT", "Port to listen on; `PORT` is read as well.", 8000, integer(1, MAXIMUM_PORT), aliases=("PORT",)
)
WORKERS = Setting("WORKERS", "Server processes.", 1, integer(1, 256))
THREADS = Setting(
    "THREADS",
    "Requests that one process works on at once: two thirds of them may hash passwords or wait to, "
    "and a third may use the database.",
    48,
    integer(6, 384),
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

WORKER = Setting(
    "WORKER",
    "Who delivers what is owed to the world, such as mail: `inside` the server processes, or `apart` the "
    "processes of `tessera worker`.",
    "inside",
    one_of("inside", "apart"),
)
FRESH_SIGN_IN = Setting(
    "FRESH_SIGN_IN_SECONDS",
    "Age of a sign-in up to which it is fresh, as deleting an account asks for.",
    300,
    integer(1, 86400),
)
TRUSTED_PROXIES: Setting[tuple[str, ...]] = Setting(
    "TRUSTED_PROXIES",
    "Networks of the proxies in front, separated by commas: what they add to `X-Forwarded-For` is believed.",
    (),
    _read_networks,
    default_text="none",
)
CORS_ORIGINS: Setting[tuple[str, ...]] = Setting(
    "CORS_ORIGINS",
    "Origins of the web pages that may read answers, such as `https://app.example.com`, separated by commas.",
    (),
    _read_origins,
    default_text="none",
)
LIMITS = Setting(
    "LIMITS",
    "`off` counts neither requests nor failed sign-ins: for load tests.",
    "on",
    one_of("on", "off"),
)
REDIS_URL = Setting(
    "REDIS_URL",
    "`redis://host:port/number` or `rediss://...`: limits of requests hold over all processes.",
    "",
    _read_redis_url,
    default_text="none",
    secret=True,
)
REQUEST_LIMIT = Setting(
    "REQUEST_LIMIT",
    "Requests of one client address (IPv6: /64), but for those that have a limit of their own.",
    Limit(1200, 60),
    limit,
)
FAILED_ATTEMPTS = Setting(
    "FAILED_ATTEMPTS",
    "Wrong passwords for one account from one client address (IPv6: /64).",
    Limit(10, 900),
    limit,
)
FAILED_ATTEMPTS_PER_ADDRESS = Setting(
    "FAILED_ATTEMPTS_PER_ADDRESS",
    "Wrong passwords from one client address (IPv6: /64), for whatever account.",
    Limit(50, 900),
    limit,
)
FAILED_ATTEMPTS_PER_ACCOUNT = Setting(
    "FAILED_ATTEMPTS_PER_ACCOUNT",
    "Wrong passwords for one account from everywhere; beyond, each address has fewer attempts, but one.",
    Limit(100, 3600),
    limit,
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
    WORKER,
    PUBLIC_URL,
    FEATURES,
    FRESH_SIGN_IN,
    TRUSTED_PROXIES,
    CORS_ORIGINS,
    LIMITS,
    REDIS_URL,
    REQUEST_LIMIT,
    FAILED_ATTEMPTS,
    FAILED_ATTEMPTS_PER_ADDRESS,
    FAILED_ATTEMPTS_PER_ACCOUNT,
)


def data_folder(settings: Settings) -> Path:
    """Return the data folder, made if need be; raises SettingsError when it cannot be."""
    folder = settings[DATA_DIR].resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError([f"{DATA_DIR.variable}: cannot be made: {error.strerror}"]) from error
    return folder


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
