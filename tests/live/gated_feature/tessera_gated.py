"""A feature from outside that holds up each hash of a password until a test lets it go on.

The tests put this folder on a server's PYTHONPATH; the service knows nothing of it.
"""

from pathlib import Path

from flask import Flask

from api.kit.feature import Feature
from api.kit.hashing import Hasher
from api.kit.settings import Setting, Settings
from tests.support.gates import pass_gate

GATE = Setting(
    "GATE", "Folder of the gate at which each request that hashes a password waits.", Path("gate"), Path
)


def start(app: Flask, settings: Settings) -> None:
    """Wait at the gate before each password is hashed."""
    folder = settings[GATE]

    class Gated(type(app.extensions["tessera.hasher"])):  # type: ignore[misc]  # whichever there is
        def hash(self, password: str) -> str:
            pass_gate(folder)
            made: str = super().hash(password)
            return made

    hasher: Hasher = app.extensions["tessera.hasher"]
    hasher.__class__ = Gated


feature = Feature(
    name="gated",
    summary="Holds up each hash of a password.",
    requires=("users",),
    settings=(GATE,),
    start=start,
)
