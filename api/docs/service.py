"""The page, and what it loads: Swagger UI as its package brings it, and our own few lines around it."""

from functools import cache
from hashlib import sha256
from importlib.resources import files

from api.kit.problems import NotFound

_OURS = files("api.docs") / "page"
_SWAGGER_UI = files("flask_swagger_ui") / "dist"
_ASSETS = {
    "docs.js": (_OURS, "text/javascript"),
    "icon.svg": (_OURS, "image/svg+xml"),
    "index.css": (_SWAGGER_UI, "text/css"),
    "swagger-ui.css": (_SWAGGER_UI, "text/css"),
    "swagger-ui-bundle.js": (_SWAGGER_UI, "text/javascript"),
}


@cache
def page() -> bytes:
    return (_OURS / "docs.html").read_bytes()


@cache
def asset(name: str) -> tuple[bytes, str]:
    """Return (content, media type) of what the page loads; raises NotFound for any other name."""
    if name not in _ASSETS:
        raise NotFound()
    folder, media_type = _ASSETS[name]
    return (folder / name).read_bytes(), media_type


@cache
def etag(content: bytes) -> str:
    return sha256(content).hexdigest()[:32]
