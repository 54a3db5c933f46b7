"""Operations that go: how their answers say so, and until when they are here."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from flask import Response
from werkzeug.http import http_date

HEADERS = {
    "Deprecation": "Since when this operation is deprecated (RFC 9745).",
    "Sunset": "When this operation ends (RFC 8594).",
}


@dataclass(frozen=True)
class Deprecation:
    """Since when an operation is deprecated and when it ends, from 0:00 UTC of a day.

    `link` is the URL of a page that says what to use in its place. Raises ValueError when it would end
    before it is deprecated.
    """

    since: date
    sunset: date
    link: str | None = None

    def __post_init__(self) -> None:
        if self.sunset <= self.since:
            raise ValueError("an operation ends after it is deprecated")

    def describe(self) -> str:
        """Return a sentence for the documentation."""
        words = f"Deprecated since {self.since}; ends on {self.sunset}."
        return f"{words} See {self.link}." if self.link else words

    def tell(self, response: Response) -> Response:
        """Add the headers to an answer; a Link that is there stays."""
        response.headers["Deprecation"] = f"@{int(_start_of(self.since).timestamp())}"
        response.headers["Sunset"] = http_date(_start_of(self.sunset))
        if self.link:
            response.headers.add("Link", f'<{self.link}>; rel="deprecation"; type="text/html"')
        return response


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
