"""create_app: the only file that knows everyone."""

from collections.abc import Iterable, Mapping

from flask import Flask

import api
from api.kit.addresses import init_addresses
from api.kit.config import FEATURES, KIT_SETTINGS, refuse_unfit_for_production
from api.kit.cors import init_cors
from api.kit.db import init_database
from api.kit.feature import Feature, installed, selected
from api.kit.http import Api, SyncFlask, init_http
from api.kit.languages import init_languages
from api.kit.limits import init_limits
from api.kit.logs import init_logs
from api.kit.outbox import Courier
from api.kit.service import Service
from api.kit.settings import Settings, environment


def all_features() -> dict[str, Feature]:
    """Return every feature that is installed, by name."""
    return installed(api)


def choose_features(environ: Mapping[str, str]) -> list[Feature]:
    """Return the features that are on; raises SettingsError."""
    return selected(all_features(), Settings([FEATURES], environ)[FEATURES])


def read_settings(features: Iterable[Feature], environ: Mapping[str, str]) -> Settings:
    """Return the settings of the kit and of the features; raises SettingsError."""
    declared = (*KIT_SETTINGS, *(setting for feature in features for setting in feature.settings))
    settings = Settings(dict.fromkeys(declared), environ)
    refuse_unfit_for_production(settings)
    return settings


def create_app(environ: Mapping[str, str] | None = None) -> Flask:
    """Return the WSGI application for these environment variables, by default the process's own.

    Raises SettingsError, naming every setting that is missing or unfit.
    """
    environ = environment() if environ is None else environ
    features = choose_features(environ)
    settings = read_settings(features, environ)
    app = SyncFlask("tessera", static_folder=None)
    init_logs(app)
    init_http(app)
    init_cors(app, settings)
    init_languages(app, [feature.translations for feature in features if feature.translations])
    init_addresses(app, settings)
    init_limits(app, settings)
    init_database(app, settings)
    app.extensions["tessera"] = Service(settings, features, Api(app))
    app.extensions["tessera.courier"] = Courier(app, features)
    for feature in features:
        feature.init_app(app)
    return app
