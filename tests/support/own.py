"""Tessera's own features, apart from those that happen to be installed, as a service in production."""

import secrets

from api.app import all_features
from api.kit.feature import Feature
from tests.support.servers import ROOT


def own_features() -> list[Feature]:
    found = all_features().items()
    return [feature for name, feature in found if (ROOT / "api" / name / "__init__.py").exists()]


def environ_of(folder: str, **settings: str) -> dict[str, str]:
    """Return the variables of a service that keeps its files in a folder, with the default settings."""
    chosen = {
        "ENV": "production",
        "SECRET_KEY": secrets.token_hex(32),
        "PUBLIC_URL": "http://127.0.0.1:8000",
        "MAIL_URL": f"file:{folder}",
        "DATA_DIR": folder,
        "FEATURES": ",".join(feature.name for feature in own_features()),
    }
    return {f"TESSERA_{name}": value for name, value in (chosen | settings).items()}
