"""Feature: all that a part of the service may add; which features there are, and which are on."""

import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import click
from flask import Flask
from flask_restful import Resource

from api.kit.config import FEATURES
from api.kit.events import Event, Listener
from api.kit.identity import Authenticator, Permission
from api.kit.problems import Problem
from api.kit.settings import Setting, Settings, SettingsError

ENTRY_POINTS = "tessera.features"
Deliver = Callable[[UUID, dict[str, Any]], None]  # by the id of what is owed, and its content
Task = Callable[[dict[str, Any]], None]  # by the content of what is owed
HealthCheck = Callable[[], None]  # looks after one part; raises anything when it is not ready


@dataclass(frozen=True, slots=True)
class Migrations:
    """The Alembic scripts of a feature from outside; they keep their own version table."""

    folder: Path
    version_table: str


@dataclass(frozen=True, eq=False)
class Chore:
    """Something that is to be done again after so many seconds, in steps that are transactions of their own.

    `is_needed` only looks. `act` does one step, of bounded size, and tells whether there may be more to
    do. However many processes there are, one at a time does it; what a killed one was at is undone.
    """

    name: str
    seconds: int
    is_needed: Callable[[], bool]
    act: Callable[[], bool]


@dataclass(frozen=True, eq=False)
class Feature:
    """A part of the service that can be switched on by name: a Flask extension.

    Everything is optional but the name and the summary. `development_resources` do not exist in
    production. `deliveries` and `tasks` say by kind how what the outbox holds is done, to the world
    or in the database; `chores` are done from time to time; `letters` is a folder of templates for mail,
    `translations` one of gettext catalogues with the feature's texts in other languages, and `examples`
    a file of what its operations are sent (`body`) and answer (`answer`), by operation.
    `personal_data` returns all that the feature holds about a user, but for secrets, as JSON or of
    instants and ids besides. `start` is called once with the app and its settings, before the first
    request, and opens no connection and starts no thread: the processes that serve are forked after it.
    """

    name: str
    summary: str
    requires: tuple[str, ...] = ()
    resources: tuple[tuple[str, type[Resource]], ...] = ()
    development_resources: tuple[tuple[str, type[Resource]], ...] = ()
    settings: tuple[Setting[Any], ...] = ()
    permissions: tuple[Permission, ...] = ()
    problems: tuple[type[Problem], ...] = ()
    events: tuple[type[Event], ...] = ()
    listeners: tuple[tuple[type[Event], Listener], ...] = ()
    authenticators: tuple[Authenticator, ...] = ()
    deliveries: Mapping[str, Deliver] = field(default_factory=dict)
    tasks: Mapping[str, Task] = field(default_factory=dict)
    chores: tuple[Chore, ...] = ()
    letters: Path | None = None
    translations: Path | None = None
    examples: Path | None = None
    personal_data: Callable[[UUID], Any] | None = None
    health_checks: tuple[tuple[str, HealthCheck], ...] = ()
    client_config: Callable[[Settings], dict[str, Any]] | None = None
    commands: tuple[click.Command, ...] = ()
    migrations: Migrations | None = None
    start: Callable[[Flask, Settings], None] | None = None

    def init_app(self, app: Flask) -> None:
        """Join the feature to an app, as a Flask extension does."""
        app.extensions["tessera"].join(app, self)


def installed(package: ModuleType) -> dict[str, Feature]:
    """Return every feature by name: those in the package, then those of other distributions.

    Raises SettingsError when two have one name.
    """
    features: dict[str, Feature] = {}
    for feature in (*_inside(package), *_outside()):
        if feature.name in features:
            raise SettingsError([f"{FEATURES.variable}: two features are named {feature.name!r}"])
        features[feature.name] = feature
    return features


def _inside(package: ModuleType) -> Iterable[Feature]:
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda found: found.name):
        if module.ispkg:
            found = getattr(import_module(f"{package.__name__}.{module.name}"), "feature", None)
            if isinstance(found, Feature):
                yield found


def _outside() -> Iterable[Feature]:
    for entry_point in sorted(entry_points(group=ENTRY_POINTS), key=lambda found: found.name):
        found = entry_point.load()
        if not isinstance(found, Feature):
            raise SettingsError([f"the entry point {entry_point.name!r} does not name a Feature"])
        yield found


def selected(features: Mapping[str, Feature], wanted: Iterable[str]) -> list[Feature]:
    """Return the features that are on, each after those it requires.

    `wanted` holds names; with none, or only `-name`s, all the others are on. Raises SettingsError
    for an unknown name, or one that requires what is off.
    """
    wanted = set(wanted)
    left_out = {name[1:] for name in wanted if name.startswith("-")}
    names = (wanted - {f"-{name}" for name in left_out}) or set(features)
    unknown = sorted((names | left_out) - set(features))
    if unknown:
        known = ", ".join(features)
        raise SettingsError([f"{FEATURES.variable}: there is no {n!r}; known: {known}" for n in unknown])
    return _in_order({name: features[name] for name in features if name in names - left_out})


def _in_order(features: Mapping[str, Feature]) -> list[Feature]:
    missing = [
        f"{FEATURES.variable}: {feature.name!r} requires {name!r}, which is off"
        for feature in features.values()
        for name in feature.requires
        if name not in features
    ]
    if missing:
        raise SettingsError(missing)
    try:
        order = TopologicalSorter({f.name: f.requires for f in features.values()}).static_order()
        return [features[name] for name in order]
    except CycleError as error:
        raise SettingsError([f"features require each other in a circle: {error.args[1]}"]) from error
