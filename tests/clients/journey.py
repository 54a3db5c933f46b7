"""What docs/clients.md shows in Python. It reads a token from a letter, and writes what came of each step."""

import json
import sys
from collections.abc import Iterator
from typing import Any, TypeVar

from tessera_client import AuthenticatedClient, Client
from tessera_client.api.emails import confirm_email
from tessera_client.api.sessions import create_session, end_current_session, refresh_session
from tessera_client.api.users import create_user, get_user, list_users, update_user
from tessera_client.models import (
    EmailConfirm,
    Problem,
    RefreshToken,
    SessionCreate,
    Tokens,
    User,
    UserCreate,
    UserPage,
    UserPatch,
    ValidationProblem,
)
from tessera_client.types import UNSET, Unset

T = TypeVar("T")


class Refused(Exception):
    """The service answered with a problem."""

    def __init__(self, problem: Problem | ValidationProblem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def expect(kind: type[T], answer: object) -> T:
    """Return the answer that was hoped for; raises Refused with the problem that came instead."""
    if isinstance(answer, Problem | ValidationProblem):
        raise Refused(answer)
    assert isinstance(answer, kind), answer
    return answer


def sign_up(client: Client, username: str, email: str, password: str) -> User:
    new = UserCreate(username=username, email=email, password=password)
    return expect(User, create_user.sync(client=client, body=new))


def confirm_address(client: Client, token: str) -> User:
    return expect(User, confirm_email.sync(client=client, body=EmailConfirm(token=token)))


def sign_in(client: Client, username: str, password: str) -> Tokens:
    credentials = SessionCreate(identifier=username, password=password, device_name="Laptop")
    return expect(Tokens, create_session.sync(client=client, body=credentials))


def refresh(client: Client, tokens: Tokens) -> Tokens:
    body = RefreshToken(refresh_token=tokens.refresh_token)
    return expect(Tokens, refresh_session.sync(client=client, body=body))


def signed_in(url: str, tokens: Tokens) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=url, token=tokens.access_token)


def read_profile(client: AuthenticatedClient) -> tuple[User, str]:
    answer = get_user.sync_detailed("me", client=client)
    return expect(User, answer.parsed), answer.headers["ETag"]


def rename(client: AuthenticatedClient, display_name: str, etag: str) -> User:
    patch = UserPatch(display_name=display_name)
    return expect(User, update_user.sync("me", client=client, body=patch, if_match=etag))


def every_user(client: AuthenticatedClient) -> Iterator[User]:
    cursor: str | Unset | None = UNSET
    while cursor is not None:
        page = expect(UserPage, list_users.sync(client=client, limit=3, cursor=cursor))
        yield from page.items
        cursor = page.next_cursor


def why_not(client: Client, username: str, email: str, password: str) -> str:
    try:
        return f"Welcome, {sign_up(client, username, email, password).username}"
    except Refused as refused:
        match refused.problem:
            case ValidationProblem(errors=errors):
                return ", ".join(f"{error.pointer}: {error.code}" for error in errors)
            case Problem(code=code):
                return code


def sign_out(client: AuthenticatedClient) -> None:
    answer = end_current_session.sync(client=client)
    if isinstance(answer, Problem):
        raise Refused(answer)


def code_of(client: AuthenticatedClient, etag: str | None = None) -> str:
    try:
        return str(rename(client, "Nobody", etag) if etag else read_profile(client)[0])
    except Refused as refused:
        return refused.problem.code


def travel(url: str, username: str, password: str, admin: str) -> dict[str, Any]:
    client = Client(base_url=url)
    email = f"{username}@example.com"
    signed_up = sign_up(client, username, email, password)
    confirmed = confirm_address(client, sys.stdin.readline().strip())
    tokens = refresh(client, sign_in(client, username, password))
    mine = signed_in(url, tokens)
    _, stale = read_profile(mine)
    renamed = rename(mine, "Mina Kim", stale)
    found = {
        "signed_up": [signed_up.username, signed_up.email_verified],
        "confirmed": [confirmed.username, confirmed.email_verified],
        "renamed": renamed.display_name,
        "stale": code_of(mine, stale),
        "listed": [user.username for user in every_user(signed_in(url, sign_in(client, admin, password)))],
        "taken": why_not(client, username, "other@example.com", password),
        "unfit": why_not(client, "with space", "other@example.com", "short"),
    }
    sign_out(mine)
    return found | {"signed_out": code_of(mine)}


if __name__ == "__main__":
    print(json.dumps(travel(*sys.argv[1:])))
