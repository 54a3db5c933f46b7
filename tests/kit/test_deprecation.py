"""An operation that goes says so, in every answer and in the contract."""

from datetime import date
from typing import Any

import pytest
from flask import Flask
from flask_restful import Resource
from openapi_spec_validator import validate

from api.kit import openapi
from api.kit.deprecation import Deprecation
from api.kit.feature import Feature
from api.kit.identity import PUBLIC, SIGNED_IN
from api.kit.operation import Answer, operation
from api.kit.problems import NotFound
from schemas.base import Answer as AnswerSchema
from schemas.base import Integer, Request
from tests.kit.conftest import MakeOffline
from tests.support import databases
from tests.support.clients import ContractClient, client_of
from tests.support.contract import load_yaml

pytestmark = databases.ON_SQLITE

GUIDE = "https://docs.example.com/from-old-to-new"
WITH_LINK = Deprecation(date(2026, 11, 1), date(2027, 5, 1), GUIDE)
WITHOUT_LINK = Deprecation(date(2026, 11, 1), date(2027, 5, 1))
SINCE, UNTIL = "@1793491200", "Sat, 01 May 2027 00:00:00 GMT"
LINK = f'<{GUIDE}>; rel="deprecation"; type="text/html"'


class _Size(Request):
    size = Integer(1, 9, parameter=True, load_default=1)


class _Done(AnswerSchema):
    size = Integer(1, 9, metadata={"example": 1})


class _Old(Resource):
    @operation(
        "getOld",
        access=PUBLIC,
        query=_Size(),
        answer=(200, _Done()),
        database=False,
        headers={"Link": "The next page."},
        problems=(NotFound,),
        deprecated=WITH_LINK,
    )
    def get(self, size: int) -> Any:
        """Get what is old.

        It was good once.
        """
        if size == 9:
            raise NotFound()
        return Answer({"size": size}, {"Link": '</v1/old?size=2>; rel="next"'})

    @operation("deleteOld", access=SIGNED_IN, answer=(204, None), deprecated=WITHOUT_LINK)
    def delete(self) -> None:
        """Delete what is old."""


class _New(Resource):
    @operation("getNew", access=PUBLIC, answer=(200, _Done()), database=False)
    def get(self) -> dict[str, int]:
        """Get what is new."""
        return {"size": 1}


def joined(app: Flask) -> Flask:
    resources = (("/v1/old", _Old), ("/v1/new", _New))
    feature = Feature(name="ageing", summary="Has what is old and what is new.", resources=resources)
    service = app.extensions["tessera"]
    service.features.append(feature)
    feature.init_app(app)
    return app


@pytest.fixture
def app(make_offline: MakeOffline) -> Flask:
    return joined(make_offline())


@pytest.fixture
def client(app: Flask) -> ContractClient:
    return client_of(app)


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {}, 200),
        ("?size=9", {}, 404),
        ("?size=10", {}, 422),
        ("", {"Accept": "text/html"}, 406),
    ],
)
def test_every_answer_says_until_when(
    client: ContractClient, query: str, headers: dict[str, str], status: int
) -> None:
    answer = client.get(f"/v1/old{query}", headers=headers)
    assert answer.status_code == status
    assert (answer.headers["Deprecation"], answer.headers["Sunset"]) == (SINCE, UNTIL)
    assert LINK in answer.headers.getlist("Link")


def test_a_link_that_is_there_stays(client: ContractClient) -> None:
    links = client.get("/v1/old").headers.getlist("Link")
    assert sorted(links) == sorted(['</v1/old?size=2>; rel="next"', LINK])


def test_head_says_the_same(client: ContractClient) -> None:
    assert client.head("/v1/old").headers["Sunset"] == UNTIL


def test_whom_it_does_not_know_hears_of_it(client: ContractClient) -> None:
    answer = client.delete("/v1/old")
    assert answer.status_code == 401
    assert (answer.headers["Deprecation"], answer.headers["Sunset"]) == (SINCE, UNTIL)
    assert "Link" not in answer.headers


def test_who_asks_too_often_hears_of_it(make_offline: MakeOffline) -> None:
    client = client_of(joined(make_offline(LIMITS="on", REQUEST_LIMIT="1 per hour")))
    answers = [client.get("/v1/old") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert [answer.headers["Sunset"] for answer in answers] == [UNTIL, UNTIL]


@pytest.mark.parametrize("path", ["/v1/new", "/v1/config", "/nowhere"])
def test_nothing_else_says_so(client: ContractClient, path: str) -> None:
    answer = client.get(path)
    assert not {"Deprecation", "Sunset", "Link"} & set(answer.headers.keys())


def test_the_contract_says_so(app: Flask) -> None:
    document = openapi.document(app.extensions["tessera"])
    validate(load_yaml(openapi.as_yaml(document)))
    old, new = document["paths"]["/v1/old"], document["paths"]["/v1/new"]
    told = f"Deprecated since 2026-11-01; ends on 2027-05-01. See {GUIDE}."
    assert old["get"]["deprecated"] is True
    assert old["get"]["description"] == f"It was good once.\n\nAnybody.\n\n{told}"
    assert old["delete"]["description"].endswith("ends on 2027-05-01.")
    for answer in old["get"]["responses"].values():
        assert {"Deprecation", "Sunset"} <= set(answer["headers"])
    assert "deprecated" not in new["get"]
    assert "Sunset" not in new["get"]["responses"]["200"].get("headers", {})


@pytest.mark.parametrize("sunset", [date(2026, 11, 1), date(2026, 10, 31)])
def test_what_ends_before_it_is_deprecated_does_not_start(sunset: date) -> None:
    with pytest.raises(ValueError, match="ends after it is deprecated"):
        Deprecation(date(2026, 11, 1), sunset)
