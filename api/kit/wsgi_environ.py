"""The environ of WSGI (PEP 3333), from what RSGI tells of a request."""

import sys
from functools import lru_cache
from typing import Any, TypeAlias

from api.kit.rsgi import Scope

Environ: TypeAlias = dict[str, Any]
SHORT = 64  # characters of a name that is remembered: else strangers fill the memory


def build_environ(scope: Scope) -> Environ:
    """Return the environ of PEP 3333 without `wsgi.input`.

    Repeated headers are joined with ",", names with an underscore dropped. The authority of the
    target (absolute form, HTTP/2) counts as one more Host unless it says the same. A header whose
    value granian does not hand out, not being visible ASCII, is there with an empty value.
    """
    headers = scope.headers
    environ: Environ = {
        **_CONSTANT,
        "REQUEST_METHOD": scope.method,
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string.encode().decode("latin-1"),
        "SERVER_PROTOCOL": _PROTOCOLS[scope.http_version],
        "REMOTE_ADDR": _split_address(scope.client)[0],
        "wsgi.url_scheme": scope.scheme,
        "wsgi.errors": sys.stderr,
    }
    environ["SERVER_NAME"], environ["SERVER_PORT"] = _split_server(scope.server)
    size = len(environ)
    for name, value in headers.items():
        _add_header(environ, environ_key(name), value)
    if len(environ) - size != len(headers):
        for name in headers:
            environ.setdefault(environ_key(name), "")
        environ.pop("", None)
    authority = scope.authority
    if authority and environ.get("HTTP_HOST") != authority:
        _add_header(environ, "HTTP_HOST", authority)
    return environ


def _add_header(environ: Environ, key: str, value: str) -> None:
    environ[key] = f"{environ[key]},{value}" if key in environ else value


def environ_key(name: str) -> str:
    """Return the environ key of a header's lower-case name, "" for one that must be dropped."""
    return _short_key(name) if len(name) <= SHORT else _key(name)


def _key(name: str) -> str:
    if "_" in name:
        return ""
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


_short_key = lru_cache(maxsize=1024)(_key)


def _split_address(address: str) -> tuple[str, str]:
    """Split "127.0.0.1:80" or "[::1]:80" into host and port."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port


_split_server = lru_cache(maxsize=64)(_split_address)

_PROTOCOLS = {"1": "HTTP/1.0", "1.1": "HTTP/1.1", "2": "HTTP/2"}

_CONSTANT: Environ = {
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}


def has_body(environ: Environ) -> bool:
    """Tell whether the framing announces a body; in HTTP/2 one may come without a word."""
    framed = "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ
    return framed or environ["SERVER_PROTOCOL"] == "HTTP/2"
