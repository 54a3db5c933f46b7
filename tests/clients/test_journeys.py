"""The generated clients from signing up to signing out, on a live service."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.conftest import Service
from tests.clients.workshop import Workshop
from tests.support.clients import PASSWORD, new_details
from tests.support.mail import Letter, read_letters
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def journey(workshop: Workshop, service: Service) -> Iterator[dict[str, Any]]:
    """What came of each step of somebody's journey, with their `username`."""
    username = new_details()["username"]
    command = workshop.command("journey", service.url, username, PASSWORD, service.admin)
    with subprocess.Popen(
        command,
        cwd=workshop.folder,
        env=workshop.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            written, _ = process.communicate(token_for(username, service), timeout=120)
        finally:
            process.kill()
    assert process.returncode == 0
    yield json.loads(written) | {"username": username}


def token_for(username: str, service: Service) -> str:
    """Wait for the email to a user who signs up, and return its token."""
    address = f"{username}@example.com"

    def find_emails() -> list[Letter]:
        return [email for email in read_letters(service.letters) if email.to == address]

    [email] = wait_until(find_emails, f"an email to {address}")
    return f"{email.token}\n"


def test_it_signs_up(journey: dict[str, Any]) -> None:
    assert journey["signed_up"] == [journey["username"], False]


def test_it_confirms_the_address_by_the_token_of_the_letter(journey: dict[str, Any]) -> None:
    assert journey["confirmed"] == [journey["username"], True]


def test_with_refreshed_tokens_it_changes_the_profile_that_it_has_read(journey: dict[str, Any]) -> None:
    assert journey["renamed"] == "Mina Kim"


def test_with_a_stale_tag_it_changes_nothing(journey: dict[str, Any]) -> None:
    assert journey["stale"] == "precondition_failed"


def test_it_lists_every_user_page_by_page(journey: dict[str, Any], service: Service) -> None:
    assert {*service.usernames, journey["username"]} <= set(journey["listed"])
    assert len(set(journey["listed"])) == len(journey["listed"]) > 2 * 3, "more than two pages"


def test_it_reads_the_code_of_a_problem(journey: dict[str, Any]) -> None:
    assert journey["taken"] == "username_taken"


def test_it_reads_every_error_of_an_unfit_request(journey: dict[str, Any]) -> None:
    assert sorted(journey["unfit"].split(", ")) == ["/password: too_short", "/username: invalid_username"]


def test_signed_out_it_is_refused(journey: dict[str, Any]) -> None:
    assert journey["signed_out"] == "invalid_token"
