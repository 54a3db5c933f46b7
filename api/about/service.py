"""What the service knows about itself."""

from typing import Any

from api import __version__
from api.kit import openapi
from api.kit.config import PUBLIC_URL, SERVICE_NAME
from api.kit.languages import languages
from api.kit.problems import NotFound, Problem
from api.kit.service import extension, service, setting

LINKS = {
    "openapi": "/openapi.json",
    "docs": "/docs",
    "problems": "/problems",
    "config": "/v1/config",
    "ready": "/health/ready",
}


def overview() -> dict[str, Any]:
    paths = {route.path for route in service().routes}
    links = {name: setting(PUBLIC_URL) + path for name, path in LINKS.items() if path in paths}
    return {"name": SERVICE_NAME, "version": __version__, "links": links}


def client_config() -> dict[str, Any]:
    """Return the features that are on, and what each tells clients."""
    here = service()
    told = {f.name: f.client_config(here.settings) for f in here.features if f.client_config}
    return {"features": sorted(f.name for f in here.features), "settings": told}


def problem_kinds(language: str) -> list[dict[str, Any]]:
    """Return every kind of problem by status and code, in a language."""
    kinds = sorted(service().problems.values(), key=lambda kind: (kind.status, kind.code))
    return [_described(kind, language) for kind in kinds]


def problem_kind(code: str, language: str) -> dict[str, Any]:
    """Return what a kind of problem is, in a language; raises NotFound."""
    kind = service().problems.get(code)
    if kind is None:
        raise NotFound()
    return _described(kind, language)


def _described(kind: type[Problem], language: str) -> dict[str, Any]:
    say = languages().speak(language)
    texts = {"title": say(kind.title), "detail": say(kind.detail), "remedy": say(kind.remedy)}
    return {"code": kind.code, "status": kind.status, **texts}


def openapi_text(form: str) -> str:
    """Return this service's OpenAPI document as `json` or `yaml`, made when first asked for."""
    texts: dict[str, str] = extension("tessera.openapi")
    if form not in texts:
        described = openapi.document(service())
        texts[form] = openapi.as_json(described) if form == "json" else openapi.as_yaml(described)
    return texts[form]
