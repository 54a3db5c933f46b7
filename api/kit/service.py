"""The service: what the features that are on have declared, in one place for each app."""

from collections.abc import Iterable
from typing import Any, TypeVar

from flask import Flask

from api.kit.config import SECRET_KEY, in_production
from api.kit.current import extensions
from api.kit.events import Event, Events
from api.kit.feature import Feature
from api.kit.http import Api
from api.kit.identity import Authenticator, Identity, Permission
from api.kit.operation import Operation, Route, routes_of
from api.kit.problems import KIT_PROBLEMS, InvalidToken, Problem
from api.kit.secrets import Seal, derive
from api.kit.settings import Setting, Settings

T = TypeVar("T")


class Service:
    """One running Tessera: its settings, features, routes and listeners."""

    def __init__(self, settings: Settings, features: Iterable[Feature], api: Api) -> None:
        self.settings = settings
        self.features: list[Feature] = list(features)
        self.api = api
        self.routes: list[Route] = []
        self.operations: dict[str, Operation] = {}
        self._keys: dict[str, list[bytes]] = {}
        self.authenticators: list[Authenticator] = []
        self.events = Events(
            (kind for feature in self.features for kind in feature.events),
            (pair for feature in self.features for pair in feature.listeners),
        )

    @property
    def permissions(self) -> tuple[Permission, ...]:
        return tuple(p for feature in self.features for p in feature.permissions)

    @property
    def problems(self) -> dict[str, type[Problem]]:
        """Every kind of problem that a caller may meet, by code."""
        kinds = (*KIT_PROBLEMS, *(p for feature in self.features for p in feature.problems))
        return {kind.code: kind for kind in kinds}

    def join(self, app: Flask, feature: Feature) -> None:
        """Add a feature's operations and authenticators, and start it.

        Raises TypeError for a method that declares no operation, or a name that is in use.
        """
        development = () if in_production(self.settings) else feature.development_resources
        for path, resource in (*feature.resources, *development):
            self.api.add_resource(resource, path, endpoint=f"{feature.name}.{resource.__name__}")
            for route in routes_of(feature.name, path, resource, self.settings):
                self._add(route)
        self.authenticators += feature.authenticators
        if feature.start is not None:
            feature.start(app, self.settings)

    def _add(self, route: Route) -> None:
        if route.operation.id in self.operations:
            raise TypeError(f"two operations are named {route.operation.id}")
        self.routes.append(route)
        self.operations[route.operation.id] = route.operation

    def keys(self, purpose: str) -> list[bytes]:
        """Return the purpose's keys, 32 bytes each, the newest first."""
        if purpose not in self._keys:
            self._keys[purpose] = [derive(secret, purpose) for secret in self.settings[SECRET_KEY]]
        return self._keys[purpose]

    def seal(self, purpose: str) -> Seal:
        """Return what encrypts the purpose's secrets at rest."""
        return Seal(self.keys(purpose))

    def identify(self, credential: str) -> Identity:
        """Return who presents a bearer credential; raises InvalidToken."""
        for authenticator in self.authenticators:
            if authenticator.recognises(credential):
                return authenticator.authenticate(credential)
        raise InvalidToken()


def service() -> Service:
    """Return the service of the current app."""
    found: Service = extensions()["tessera"]
    return found


def setting(declared: Setting[T]) -> T:
    """Return a setting's value in the current app."""
    return service().settings[declared]


def emit(event: Event) -> None:
    """Tell every listener that something happened, within the current unit of work."""
    service().events.emit(event)


def extension(name: str) -> Any:
    """Return what a feature's `start` kept in `app.extensions`."""
    return extensions()[name]
