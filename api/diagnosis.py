"""What `tessera doctor` looks at."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from api import app
from api.kit import limits, migrations
from api.kit.config import DATA_DIR, DATABASE_URL, PUBLIC_URL, REDIS_URL, WORKERS, data_folder, in_production
from api.kit.feature import Feature
from api.kit.hashing import usable_cores
from api.kit.settings import Settings, SettingsError, environment

OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    mark: str
    text: str

    @property
    def is_fault(self) -> bool:
        return self.mark == "FAULT"


def examine() -> Iterator[Finding]:
    """Yield what is well, what deserves a look, and what is wrong: in that order of digging."""
    try:
        features = app.choose_features(environment())
        settings = app.read_settings(features, environment())
        yield Finding("ok   ", f"settings; features on: {', '.join(f.name for f in features)}")
        for name in settings.unknown:
            yield Finding("look ", f"{name} is set, but no such setting is known")
        yield from _data_folder(settings)
        yield from _database(features, settings)
        yield from _limits(settings)
        yield from _exposure(settings)
    except SettingsError as error:
        yield from (Finding("FAULT", line) for line in error.errors)


def _data_folder(settings: Settings) -> Iterator[Finding]:
    folder = data_folder(settings)
    if not os.access(folder, os.W_OK):
        yield Finding("FAULT", f"data folder {folder} cannot be written; set {DATA_DIR.variable}")
    elif folder.stat().st_mode & OTHERS:
        yield Finding("look ", f"data folder {folder} is open to others; run: chmod 700 {folder}")
    else:
        yield Finding("ok   ", f"data folder: {folder}")


def _database(features: list[Feature], settings: Settings) -> Iterator[Finding]:
    url = sa.make_url(settings[DATABASE_URL])
    try:
        behind = migrations.behind_at(url, migrations.histories(features))
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or type(error).__name__
        yield Finding("FAULT", f"database {url.render_as_string()} does not answer: {cause}")
        return
    yield Finding("ok   ", f"database: {url.render_as_string()}")
    if behind:
        yield Finding("FAULT", f"the tables are behind ({', '.join(behind)}); run: tessera migrate")
    else:
        yield Finding("ok   ", "the tables are up to date")


def _limits(settings: Settings) -> Iterator[Finding]:
    for sentence in limits.explain(settings):
        yield Finding("look " if sentence.is_weak else "ok   ", sentence.text)
    if settings[REDIS_URL]:
        try:
            limits.reach(settings[REDIS_URL])
        except Exception as error:  # whatever it is, limits hold without it
            text = f"Redis does not answer ({type(error).__name__}), so each process limits for itself"
            yield Finding("look ", text)


def _exposure(settings: Settings) -> Iterator[Finding]:
    if in_production(settings) and not settings[PUBLIC_URL].startswith("https://"):
        yield Finding("look ", f"{PUBLIC_URL.variable} is not https: tokens travel in the clear")
    if settings[WORKERS] > usable_cores():
        text = f"{WORKERS.variable} is {settings[WORKERS]}, more than the {usable_cores()} usable cores"
        yield Finding("look ", text)
