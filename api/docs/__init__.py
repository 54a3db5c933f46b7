"""The contract as a page: to read it, and to try it."""

from api.docs.resources import DocsAsset, DocsPage
from api.kit.feature import Feature

feature = Feature(
    name="docs",
    summary="The contract as a page to read and to try, with nothing loaded from elsewhere.",
    requires=("about",),
    resources=(("/docs", DocsPage), ("/docs/<asset>", DocsAsset)),
)
