"""What the service says about itself: its contract, its features, its problems."""

from pathlib import Path

from flask import Flask

from api.about.resources import ClientConfig, OpenApiJson, OpenApiYaml, ProblemKind, ProblemKinds, Root
from api.kit.feature import Feature
from api.kit.settings import Settings


def _start(app: Flask, settings: Settings) -> None:
    app.extensions["tessera.openapi"] = {}  # the texts of the document, by form


feature = Feature(
    name="about",
    summary="The service itself: its contract, what frontends need to know, what problems mean.",
    resources=(
        ("/", Root),
        ("/v1/config", ClientConfig),
        ("/openapi.json", OpenApiJson),
        ("/openapi.yaml", OpenApiYaml),
        ("/problems", ProblemKinds),
        ("/problems/<code>", ProblemKind),
    ),
    start=_start,
    examples=Path(__file__).parent / "examples.json",
)
