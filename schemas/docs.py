"""What the page of the contract asks for."""

from schemas.base import Request, Text


class AssetPath(Request):
    """The path of something that the page loads."""

    asset = Text(
        minimum=1,
        maximum=100,
        required=True,
        metadata={"description": "The name of a file.", "example": "docs.js"},
    )
