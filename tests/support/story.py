"""The story that the examples of the contract are taken from: it calls every operation."""

from typing import Any

from flask import Flask

from api.bulk.resources import FILE
from api.kit import work
from api.users import signing_up
from tests.support.examples import Examples, Taker, a_service
from tests.support.mail import Mailbox

FIRST, SECOND, THIRD = (f"{words} horse battery staple" for words in ("correct", "another", "yet another"))
MINA: dict[str, Any] = {
    "username": "mina",
    "email": "mina@example.com",
    "password": FIRST,
    "display_name": "Mina Kim",
    "locale": "ko-KR",
    "metadata": {"theme": "dark"},
}


def take_examples() -> Examples:
    """Return what each operation was sent and answered."""
    with a_service() as (app, clock):
        taker, mailbox = Taker(app, clock), Mailbox(app)
        _ask_the_service(taker)
        user_id = _join(taker, mailbox)
        _look_after_devices(taker)
        _change_password_and_address(taker, mailbox)
        _administer(taker, app, user_id)
        _bring_users_in(taker, mailbox)
        return taker.examples


def _ask_the_service(taker: Taker) -> None:
    for path in ("/", "/v1/config", "/problems/email_taken", "/problems", "/health/live", "/health/ready"):
        taker.call("GET", path)


def _join(taker: Taker, mailbox: Mailbox) -> str:
    """Sign up and in, confirm the address, and return the id."""
    user = taker.call("POST", "/v1/users", MINA)
    taker.sign_in("mina", FIRST)
    taker.call("POST", "/v1/email-verifications/confirm", {"token": mailbox.only().token})
    taker.call("GET", "/v1/users/me")
    taker.call("PATCH", "/v1/users/me", {"display_name": "Mina K.", "metadata": {"theme": None, "size": 12}})
    return str(user["id"])


def _look_after_devices(taker: Taker) -> None:
    other = taker.sign_in("mina", FIRST, "tablet")
    tokens = taker.sign_in("mina", FIRST, "laptop")
    taker.call("GET", "/v1/users/me/sessions")
    taker.call("POST", "/v1/sessions/sign-out", {"refresh_token": other["refresh_token"]})
    taker.carry(taker.call("POST", "/v1/sessions/refresh", {"refresh_token": tokens["refresh_token"]}))
    taker.carry(taker.call("POST", "/v1/sessions/reauthenticate", {"password": FIRST}))
    for path in ("/.well-known/jwks.json", "/.well-known/oauth-authorization-server"):
        taker.call("GET", path)


def _change_password_and_address(taker: Taker, mailbox: Mailbox) -> None:
    change = {"current_password": FIRST, "new_password": SECOND}
    taker.call("PUT", "/v1/users/me/password", change)
    mailbox.deliver()
    taker.call("PATCH", "/v1/users/me", {"email": "mina.kim@example.com"})
    notice = next(letter for letter in mailbox.deliver() if letter.to == MINA["email"])
    taker.call("POST", "/v1/email-changes/revert", {"token": notice.token, "new_password": THIRD})
    mailbox.deliver()
    taker.call("POST", "/v1/password-resets", {"email": MINA["email"]})
    reset = {"token": mailbox.only().token, "new_password": SECOND}
    taker.call("POST", "/v1/password-resets/confirm", reset)
    mailbox.deliver()
    taker.sign_in("mina", SECOND)
    taker.call("GET", "/v1/users/me/export")
    taker.call("GET", "/v1/users/me/audit-events?limit=2")


def _administer(taker: Taker, app: Flask, user_id: str) -> None:
    with app.app_context(), work.writing():
        signing_up.sign_up(username="admin", email="admin@example.com", password=FIRST, as_admin=True)
    taker.sign_in("admin", FIRST)
    taker.call("GET", "/v1/users")
    taker.call("GET", "/v1/audit-events?limit=2")
    role = {"name": "support", "summary": "Looks after users.", "permissions": ["users:read"]}
    taker.call("POST", "/v1/roles", role)
    taker.call("GET", "/v1/roles/support")
    taker.call("PATCH", "/v1/roles/support", {"permissions": ["sessions:read", "users:read"]})
    taker.call("GET", "/v1/roles")
    user = f"/v1/users/{user_id}"
    taker.call("POST", f"{user}/suspension", {"reason": "Sends spam.", "until": "2026-12-01T00:00:00Z"})
    taker.call("GET", f"{user}/suspension")
    taker.call("DELETE", f"{user}/suspension")
    taker.call("DELETE", user)
    taker.call("POST", f"{user}/restoration")
    taker.call("GET", "/v1/revocations?limit=2")


def _bring_users_in(taker: Taker, mailbox: Mailbox) -> None:
    csv = FILE.examples["text/csv"].encode()
    job = taker.call("POST", "/v1/user-imports", data=csv, content_type="text/csv")
    mailbox.deliver()
    taker.call("GET", f"/v1/user-imports/{job['id']}")
    taker.call("GET", f"/v1/user-imports/{job['id']}/errors")
    taker.call("GET", "/v1/user-imports")
