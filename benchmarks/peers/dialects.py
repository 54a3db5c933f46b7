"""How each peer is spoken to."""

import json
from typing import Any
from urllib.parse import urlencode

from benchmarks.client import Reply, http_request
from benchmarks.measuring import Server
from benchmarks.peers.apps.common import PASSWORD, email, username
from benchmarks.systems import DEPTH, PAGE, Dialect, Tokens, bearer, post

LISTS = {"first page", "deep page"}


class BareRoute(Dialect):
    """A route that answers a constant to everybody."""

    offers = frozenset({"own profile"})
    profile_path = "/me"

    def is_profile(self, reply: Reply, number: int) -> bool:
        return reply.status == 200 and super().is_profile(reply, 2)


class FastapiUsers(Dialect):
    """Has neither refresh tokens nor a list of users."""

    offers = Dialect.offers - {"refresh", *LISTS}
    profile_path = "/users/me"

    def sign_in(self, number: int) -> bytes:
        form = urlencode({"username": email(number), "password": PASSWORD}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return http_request("POST", "/auth/login", headers, form)

    def tokens(self, reply: Reply) -> Tokens:
        return Tokens(json.loads(reply.body)["access_token"])

    def sign_up(self, name: str) -> bytes:
        return post("/auth/register", {"email": f"{name}@example.com", "password": PASSWORD})


class FlaskSecurity(Dialect):
    """Has no list of users."""

    offers = Dialect.offers - LISTS
    profile_path = "/api/me"

    def presenting(self, token: str) -> dict[str, str]:
        return {"Authentication-Token": token}

    def sign_in(self, number: int) -> bytes:
        return post("/login?include_auth_token", {"email": email(number), "password": PASSWORD})

    def tokens(self, reply: Reply) -> Tokens:
        user = json.loads(reply.body)["response"]["user"]
        return Tokens(user["authentication_token"], user["refresh_token"])

    def refresh(self, tokens: Tokens) -> bytes:
        return post("/refresh-token", {"refresh_token": tokens.refresh})

    def sign_up(self, name: str) -> bytes:
        details = {"email": f"{name}@example.com", "password": PASSWORD, "password_confirm": PASSWORD}
        return post("/register", details)

    def is_signed_up(self, reply: Reply, name: str) -> bool:
        return reply.status == 200 and "user" in json.loads(reply.body)["response"]


class Djoser(Dialect):
    """Counts its users and skips the first ones for each page."""

    profile_path = "/auth/users/me/"

    def sign_in(self, number: int) -> bytes:
        return post("/auth/jwt/create/", {"username": username(number), "password": PASSWORD})

    def tokens(self, reply: Reply) -> Tokens:
        found = json.loads(reply.body)
        return Tokens(found["access"], found["refresh"])

    def refresh(self, tokens: Tokens) -> bytes:
        return post("/auth/jwt/refresh/", {"refresh": tokens.refresh})

    def sign_up(self, name: str) -> bytes:
        details = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        return post("/auth/users/", details)

    def first_page(self, tokens: Tokens) -> bytes:
        return http_request("GET", "/auth/users/", bearer(tokens.access))

    def deep_page(self, tokens: Tokens, server: Server) -> bytes:
        return http_request("GET", f"/auth/users/?page={DEPTH // PAGE + 1}", bearer(tokens.access))


class Allauth(Dialect):
    """Has no list of users."""

    offers = Dialect.offers - LISTS
    profile_path = "/_allauth/app/v1/auth/session"

    def sign_in(self, number: int) -> bytes:
        return post("/_allauth/app/v1/auth/login", {"email": email(number), "password": PASSWORD})

    def tokens(self, reply: Reply) -> Tokens:
        return self._tokens(json.loads(reply.body)["meta"])

    def refresh(self, tokens: Tokens) -> bytes:
        return post("/_allauth/app/v1/tokens/refresh", {"refresh_token": tokens.refresh})

    def refreshed(self, reply: Reply, before: Tokens) -> Tokens:
        found = self._tokens(json.loads(reply.body)["data"])
        if found.refresh == before.refresh:
            raise ValueError("no new refresh token")
        return found

    def sign_up(self, name: str) -> bytes:
        details = {"email": f"{name}@example.com", "password": PASSWORD}
        return post("/_allauth/app/v1/auth/signup", details)

    @staticmethod
    def _tokens(found: Any) -> Tokens:
        return Tokens(found["access_token"], found["refresh_token"])


class BetterAuth(Dialect):
    """Its refresh makes a JWT from the session and rotates nothing; its answer to a bad token is `null`."""

    profile_path = "/api/auth/get-session"

    def is_refusal(self, reply: Reply) -> bool:
        return reply.status == 200 and reply.body == b"null"

    def sign_in(self, number: int) -> bytes:
        return post("/api/auth/sign-in/email", {"email": email(number), "password": PASSWORD})

    def tokens(self, reply: Reply) -> Tokens:
        return Tokens(reply.headers["set-auth-token"])

    def refresh(self, tokens: Tokens) -> bytes:
        return http_request("GET", "/api/auth/token", bearer(tokens.access))

    def refreshed(self, reply: Reply, before: Tokens) -> Tokens:
        if json.loads(reply.body)["token"].count(".") != 2:
            raise ValueError("no JWT")
        return before

    def sign_up(self, name: str) -> bytes:
        details = {"email": f"{name}@example.com", "name": name, "password": PASSWORD}
        return post("/api/auth/sign-up/email", details)

    def first_page(self, tokens: Tokens) -> bytes:
        return self._page(tokens, 0)

    def deep_page(self, tokens: Tokens, server: Server) -> bytes:
        return self._page(tokens, DEPTH)

    @staticmethod
    def _page(tokens: Tokens, offset: int) -> bytes:
        path = f"/api/auth/admin/list-users?limit={PAGE}&offset={offset}"
        return http_request("GET", path, bearer(tokens.access))


class ParseServer(Dialect):
    """Has no refresh tokens; lists without order or count, to who knows the master key."""

    offers = Dialect.offers - {"refresh"}
    profile_path = "/parse/users/me"
    _app = {"X-Parse-Application-Id": "bench"}

    def presenting(self, token: str) -> dict[str, str]:
        return self._app | {"X-Parse-Session-Token": token}

    def is_refusal(self, reply: Reply) -> bool:
        return reply.status == 400 and json.loads(reply.body)["code"] == 209

    def sign_in(self, number: int) -> bytes:
        headers = self._app | {"X-Parse-Revocable-Session": "1"}
        return post("/parse/login", {"username": email(number), "password": PASSWORD}, headers)

    def tokens(self, reply: Reply) -> Tokens:
        return Tokens(json.loads(reply.body)["sessionToken"])

    def sign_up(self, name: str) -> bytes:
        address = f"{name}@example.com"
        details = {"username": address, "email": address, "password": PASSWORD}
        return post("/parse/users", details, self._app)

    def is_signed_up(self, reply: Reply, name: str) -> bool:
        return reply.status == 201 and "sessionToken" in json.loads(reply.body)

    def first_page(self, tokens: Tokens) -> bytes:
        return self._page(0)

    def deep_page(self, tokens: Tokens, server: Server) -> bytes:
        return self._page(DEPTH)

    def _page(self, skip: int) -> bytes:
        headers = self._app | {"X-Parse-Master-Key": "bench-master"}
        return http_request("GET", f"/parse/users?limit={PAGE}&skip={skip}", headers)
