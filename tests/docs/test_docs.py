"""The page of the contract: all that it loads is served here, and nothing else may load."""

import re
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest

from tests.conftest import MakeApp
from tests.support import databases
from tests.support.clients import ContractClient, client_of

pytestmark = databases.ON_SQLITE

PAGE = "https://id.example.com/docs"
FOREIGN = re.compile(rb"""(?:url\(|@import|=)\s*["']?\s*(?:https?:)?//""")


class _Page(HTMLParser):
    """What a page refers to, and what it holds inline."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.inline: list[str] = []
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        for name, value in attrs:
            if name in ("src", "href"):
                self.references.append(value or "")
            if name == "style" or name.startswith("on"):
                self.inline.append(f"{tag} {name}")

    def handle_data(self, data: str) -> None:
        if self._tag in ("script", "style") and data.strip():
            self.inline.append(data)

    @property
    def paths(self) -> list[str]:
        """The paths of what it refers to, as a browser at `/docs` resolves them."""
        return [urlsplit(urljoin(PAGE, reference)).path for reference in self.references]


@pytest.fixture
def page(client: ContractClient) -> _Page:
    return _Page(client.get("/docs").text)


def test_the_page_is_html_that_caches_may_keep(client: ContractClient) -> None:
    response = client.get("/docs")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "public, max-age=300"


def test_the_page_may_load_and_call_nothing_but_what_is_served_here(client: ContractClient) -> None:
    [policy] = client.get("/docs").headers.getlist("Content-Security-Policy")
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",  # the icons in Swagger UI's own style sheet
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_a_cached_page_keeps_its_policy(client: ContractClient) -> None:
    fresh = client.get("/docs")
    kept = client.get("/docs", headers={"If-None-Match": fresh.headers["ETag"]})
    assert kept.status_code == 304
    assert kept.headers.getlist("Content-Security-Policy") == fresh.headers.getlist("Content-Security-Policy")


def test_the_page_holds_nothing_inline_and_names_no_host(page: _Page) -> None:
    assert len(page.references) >= 4
    assert page.inline == []
    for reference in page.references:
        parts = urlsplit(reference)
        assert not parts.scheme, reference
        assert not parts.netloc, reference


def test_all_that_the_page_refers_to_is_served_here(client: ContractClient, page: _Page) -> None:
    for path in page.paths:
        assert client.get(path).status_code == 200, path


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("docs.js", "text/javascript; charset=utf-8"),
        ("index.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml; charset=utf-8"),
        ("swagger-ui.css", "text/css; charset=utf-8"),
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    ],
)
def test_an_asset_has_its_type_may_be_kept_and_runs_nothing_by_itself(
    client: ContractClient, name: str, media_type: str
) -> None:
    response = client.get(f"/docs/{name}")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == media_type
    assert response.headers["Cache-Control"] == "public, max-age=300"
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    again = client.get(f"/docs/{name}", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_no_style_and_no_script_of_ours_names_a_host(client: ContractClient) -> None:
    for name in ("docs.js", "index.css", "swagger-ui.css"):
        assert not FOREIGN.findall(client.get(f"/docs/{name}").data), name


@pytest.mark.parametrize(
    "name",
    [
        "docs.html",
        "index.html",
        "swagger-ui.js",
        "..",
        "__init__.py",
        "../resources.py",
        "..%2fresources.py",
        "..%5cresources.py",
        "%2fetc%2fpasswd",
        "docs.js%2f..%2f..%2fresources.py",
    ],
)
def test_there_is_no_other_asset(client: ContractClient, name: str) -> None:
    response = client.get(f"/docs/{name}")
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.get_json()["code"] == "not_found"


@pytest.mark.parametrize("path", ["/docs", "/docs/docs.js"])
def test_head_and_options_answer_as_everywhere(client: ContractClient, path: str) -> None:
    head = client.head(path)
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["ETag"] == client.get(path).headers["ETag"]
    options = client.options(path)
    assert options.status_code == 204
    assert set(options.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert client.post(path).status_code == 405


def test_the_root_leads_to_the_page_while_it_is_on(client: ContractClient, make_app: MakeApp) -> None:
    assert client.get("/").get_json()["links"]["docs"] == PAGE
    without = client_of(make_app(FEATURES="-docs"))
    assert "docs" not in without.get("/").get_json()["links"]
    assert without.get("/docs").status_code == 404
    assert not [path for path in without.get("/openapi.json").get_json()["paths"] if "docs" in path]
