"""The fetch of docs/clients.md that refreshes once for many requests, on a live service."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Service
from tests.clients.workshop import Workshop
from tests.support.clients import PASSWORD, new_details

pytestmark = [pytest.mark.long, pytest.mark.parametrize("workshop", ["typescript"], indirect=True)]

CROWD = 20


@dataclass(frozen=True)
class Outcome:
    """What a crowd of requests got, what the wrapper kept, and how often the service was asked to refresh."""

    statuses: list[int]
    kept: list[dict[str, Any] | None]
    refreshes: int


def send_crowd(workshop: Workshop, service: Service, tokens: dict[str, Any]) -> Outcome:
    """Send many requests at once with an access token that is not good."""
    spoiled = json.dumps({"access_token": "dead", "refresh_token": tokens["refresh_token"]})
    before = refreshes(service.server.log)
    written = workshop.run("crowd", service.url, spoiled, str(CROWD))
    return Outcome(**written, refreshes=refreshes(service.server.log) - before)


def refreshes(log: Path) -> int:
    return log.read_text(encoding="utf-8").count('"operation":"refreshSession"')


def signed_in(service: Service) -> dict[str, Any]:
    details = new_details()
    service.call("POST", "/v1/users", details)
    tokens: dict[str, Any] = service.call(
        "POST", "/v1/sessions", {"identifier": details["username"], "password": PASSWORD}
    )
    return tokens


def test_many_requests_share_one_refresh(workshop: Workshop, service: Service) -> None:
    outcome = send_crowd(workshop, service, signed_in(service))
    assert outcome.statuses == [200] * CROWD
    assert outcome.refreshes == 1


def test_the_new_tokens_are_kept(workshop: Workshop, service: Service) -> None:
    [kept] = send_crowd(workshop, service, signed_in(service)).kept
    assert kept is not None
    assert service.call("GET", "/v1/users/me", bearer=kept["access_token"])["locale"] == "ko-KR"


def test_when_the_session_has_ended_everybody_gets_the_refusal(workshop: Workshop, service: Service) -> None:
    tokens = signed_in(service)
    service.call("DELETE", "/v1/sessions/current", bearer=tokens["access_token"])
    assert send_crowd(workshop, service, tokens) == Outcome([401] * CROWD, [None], 1)
