"""A feature from outside that counts the passwords that are verified, over any number of processes.

The tests put this folder on a server's PYTHONPATH; the service knows nothing of it.
"""

from pathlib import Path

from flask import Flask

from api.kit.feature import Feature
from api.kit.hashing import Hasher
from api.kit.settings import Setting, Settings

FILE = Setting("COUNTING_FILE", "File that grows by a byte with each password.", Path("verified"), Path)


def start(app: Flask, settings: Settings) -> None:
    """Write a byte before each password is verified."""
    file = settings[FILE]

    class Counting(type(app.extensions["tessera.hasher"])):  # type: ignore[misc]  # whichever there is
        def verify(self, hashed: str | None, password: str) -> bool:
            with file.open("ab") as counted:
                counted.write(b".")
            right: bool = super().verify(hashed, password)
            return right

    hasher: Hasher = app.extensions["tessera.hasher"]
    hasher.__class__ = Counting


feature = Feature(
    name="counting",
    summary="Counts the passwords that are verified.",
    requires=("users",),
    settings=(FILE,),
    start=start,
)
