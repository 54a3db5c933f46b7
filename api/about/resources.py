"""What the service says about itself over HTTP."""

from typing import Any

from flask_restful import Resource

from api.about import service
from api.kit.conditional import content_tag
from api.kit.identity import PUBLIC
from api.kit.languages import wanted_language
from api.kit.operation import Answer, operation
from api.kit.problems import NotFound
from schemas.about import (
    ClientConfigAnswer,
    ProblemKindAnswer,
    ProblemKindPageAnswer,
    ProblemPath,
    ServiceAnswer,
)

FIVE_MINUTES = 300  # seconds
_LANGUAGE = {"Content-Language": "The language of the texts."}


class Root(Resource):
    @operation("getService", access=PUBLIC, answer=(200, ServiceAnswer()), etag=content_tag, database=False)
    def get(self) -> dict[str, Any]:
        """Get the service's name, version and links."""
        return service.overview()


class ClientConfig(Resource):
    @operation(
        "getClientConfig",
        access=PUBLIC,
        answer=(200, ClientConfigAnswer()),
        etag=content_tag,
        database=False,
        max_age=FIVE_MINUTES,
    )
    def get(self) -> dict[str, Any]:
        """Get what a frontend needs to draw its forms.

        The features that are on, and what some of them tell, by their names: who may sign up, by which
        identifiers, and the rules for passwords.
        """
        return service.client_config()


class OpenApiJson(Resource):
    @operation(
        "getOpenApiJson",
        access=PUBLIC,
        answer=(200, None),
        media_type="application/json",
        etag=content_tag,
        database=False,
        max_age=FIVE_MINUTES,
    )
    def get(self) -> str:
        """Get this contract as JSON.

        It holds the features that are switched on here.
        """
        return service.openapi_text("json")


class OpenApiYaml(Resource):
    @operation(
        "getOpenApiYaml",
        access=PUBLIC,
        answer=(200, None),
        media_type="application/yaml",
        etag=content_tag,
        database=False,
        max_age=FIVE_MINUTES,
    )
    def get(self) -> str:
        """Get this contract as YAML.

        It holds the features that are switched on here.
        """
        return service.openapi_text("yaml")


class ProblemKinds(Resource):
    @operation(
        "listProblemKinds",
        access=PUBLIC,
        answer=(200, ProblemKindPageAnswer()),
        etag=content_tag,
        database=False,
        max_age=FIVE_MINUTES,
        headers=_LANGUAGE,
    )
    def get(self) -> Answer:
        """List every kind of problem that this service answers, by status, on one page."""
        language = wanted_language()
        return _in(language, {"items": service.problem_kinds(language), "next_cursor": None})


class ProblemKind(Resource):
    @operation(
        "getProblemKind",
        access=PUBLIC,
        path=ProblemPath(),
        answer=(200, ProblemKindAnswer()),
        etag=content_tag,
        database=False,
        max_age=FIVE_MINUTES,
        headers=_LANGUAGE,
        problems=(NotFound,),
    )
    def get(self, code: str) -> Answer:
        """Get what a kind of problem means and what to do about it.

        The `type` of every problem leads here.
        """
        language = wanted_language()
        return _in(language, service.problem_kind(code, language))


def _in(language: str, texts: dict[str, Any]) -> Answer:
    return Answer(texts, {"Content-Language": language, "Vary": "Accept-Language"})
