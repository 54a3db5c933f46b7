"""The page of the contract over HTTP."""

from flask_restful import Resource

from api.docs import service
from api.kit.identity import PUBLIC
from api.kit.operation import Answer, operation
from api.kit.problems import NotFound
from schemas.docs import AssetPath

FIVE_MINUTES = 300  # seconds
HTML = "text/html"
# All that a page may load or call is of its own origin; nothing inline, no eval, no frame around it.
# Swagger UI's style sheet has its icons in itself: data, from which an image can neither run nor load.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class DocsPage(Resource):
    @operation(
        "getDocsPage",
        access=PUBLIC,
        answer=(200, None),
        texts={HTML: '<!doctype html>\n<html lang="en">...</html>\n'},
        headers={"Content-Security-Policy": "What the page may load: only what is served here."},
        etag=service.etag,
        database=False,
        max_age=FIVE_MINUTES,
    )
    def get(self) -> Answer:
        """Get this contract as a page to read, and to try.

        For people, in a browser. Its button Authorize takes an access token.
        """
        return Answer(service.page(), {"Content-Security-Policy": POLICY}, HTML)


class DocsAsset(Resource):
    @operation(
        "getDocsAsset",
        access=PUBLIC,
        path=AssetPath(),
        answer=(200, None),
        texts={
            "text/javascript": "SwaggerUIBundle({ ... });\n",
            "text/css": ".swagger-ui { ... }\n",
            "image/svg+xml": '<svg xmlns="http://www.w3.org/2000/svg"/>\n',
        },
        etag=service.etag,
        database=False,
        max_age=FIVE_MINUTES,
        problems=(NotFound,),
    )
    def get(self, asset: str) -> Answer:
        """Get a script, a style sheet or an image of the page `/docs`."""
        content, media_type = service.asset(asset)
        return Answer(content, media_type=media_type)
