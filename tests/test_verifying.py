"""The verifiers of docs/verifying.md, in Python and JavaScript, before real, forged and revoked tokens."""

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask

from api.kit import work
from api.kit.db import db
from api.sessions.keys import Key
from api.sessions.models import Revocation
from tests.conftest import SECRET
from tests.support import databases
from tests.support.clients import PASSWORD, Person, new_details
from tests.support.commands import tessera
from tests.support.ports import free_port
from tests.support.servers import ROOT, Server, serving
from tests.support.signing import foreign_key, signing_key
from tests.support.verifiers import (
    EACH_LANGUAGE,
    GUIDE,
    ISSUER,
    LANGUAGES,
    Refused,
    Verifier,
    blocks,
    code_lines,
    verifying,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long

MOST_LINES = 10
FOR_OTHERS = {"type", "fresh"}  # claims of Flask-JWT-Extended, which nobody may rely on
DROP = object()
ENDED = {"python": "InvalidTokenError", "js": "Error"}


@pytest.fixture(scope="module")
def issuer(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose tokens are of the very address on which it listens."""
    port = free_port()
    own = {"TESSERA_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    with serving(environ | own, tmp_path_factory.mktemp("issuer") / "server.log", port=port) as running:
        yield running


@pytest.fixture(scope="module", params=EACH_LANGUAGE)
def verifier(
    request: pytest.FixtureRequest, issuer: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Verifier]:
    """The guide's verifier in each language."""
    with verifying(request.param, url(issuer), tmp_path_factory.mktemp("verifier")) as running:
        yield running


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def signed_in(server: Server, identifier: str) -> str:
    """Sign somebody in at a server, and return the access token."""
    answer = server.call("POST", "/v1/sessions", {"identifier": identifier, "password": PASSWORD})
    assert answer.status == 201, answer.body
    token: str = answer.json["access_token"]
    return token


def signed_up(server: Server) -> str:
    """Sign somebody new up and in at a server, and return the access token."""
    details = new_details()
    assert server.call("POST", "/v1/users", details).status == 201
    return signed_in(server, details["username"])


def sign_out(server: Server, token: str, path: str = "/v1/sessions/current") -> None:
    assert server.call("DELETE", path, headers={"Authorization": f"Bearer {token}"}).status == 204


def unverified(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


@pytest.fixture
def token(app: Flask, issuer: Server) -> str:
    """The access token of somebody who is signed in."""
    return signed_up(issuer)


@pytest.fixture
def follower(issuer: Server, admin: Person) -> str:
    """The access token of somebody who may follow the feed."""
    return signed_in(issuer, admin.user["username"])


@dataclass
class Forge:
    """Makes tokens after a real one; the service's own key signs unless told otherwise."""

    key: Key
    claims: dict[str, Any]

    def make(self, *, key: Key | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a token with other claims, or without those that are DROP."""
        changed = {name: value for name, value in (self.claims | claims).items() if value is not DROP}
        headers = {"typ": "at+jwt", "kid": self.key.kid} | (header or {})
        return jwt.encode(changed, (key or self.key).private, "ES256", headers)

    def resigned(self, alg: str, sign: Callable[[bytes], bytes]) -> str:
        """Return a token of another algorithm, made by hand: PyJWT would not sign so."""
        header = {"alg": alg, "typ": "at+jwt", "kid": self.key.kid}
        parts = [json.dumps(part).encode() for part in (header, self.claims)]
        signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
        signature = base64.urlsafe_b64encode(sign(signed)).rstrip(b"=")
        return (signed + b"." + signature).decode()


@pytest.fixture(scope="module")
def forge(shared_app: Flask, issuer: Server) -> Iterator[Forge]:
    yield Forge(signing_key(shared_app), unverified(signed_up(issuer)))
    with shared_app.app_context():
        databases.wipe(db.engine)


FOREIGN = foreign_key()


def by_hmac_with_the_public_key(forge: Forge) -> str:
    known = forge.key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return forge.resigned("HS256", lambda signed: hmac.digest(known, signed, hashlib.sha256))


CLAIM = "ERR_JWT_CLAIM_VALIDATION_FAILED"
SIGNATURE = ("InvalidSignatureError", "ERR_JWS_SIGNATURE_VERIFICATION_FAILED")
ALGORITHM = ("InvalidAlgorithmError", "ERR_JOSE_ALG_NOT_ALLOWED")
FORGED: dict[str, tuple[Callable[[Forge], str], tuple[str, str]]] = {
    "of a foreign key": (
        lambda forge: forge.make(key=FOREIGN, header={"kid": FOREIGN.kid}),
        ("PyJWKClientError", "ERR_JWKS_NO_MATCHING_KEY"),
    ),
    "of a foreign key under a known id": (lambda forge: forge.make(key=FOREIGN), SIGNATURE),
    "of the key in its own header": (
        lambda forge: forge.make(key=FOREIGN, header={"jwk": FOREIGN.as_jwk()}),
        SIGNATURE,
    ),
    "that has expired": (
        lambda forge: forge.make(exp=int(time.time()) - 60),
        ("ExpiredSignatureError", "ERR_JWT_EXPIRED"),
    ),
    "that never expires": (lambda forge: forge.make(exp=DROP), ("MissingRequiredClaimError", CLAIM)),
    "that is not good yet": (
        lambda forge: forge.make(nbf=int(time.time()) + 60),
        ("ImmatureSignatureError", CLAIM),
    ),
    "of no session": (lambda forge: forge.make(sid=DROP), ("MissingRequiredClaimError", CLAIM)),
    "of no user": (lambda forge: forge.make(sub=DROP), ("MissingRequiredClaimError", CLAIM)),
    "for another audience": (
        lambda forge: forge.make(aud="https://shop.example.com"),
        ("InvalidAudienceError", CLAIM),
    ),
    "of another issuer": (
        lambda forge: forge.make(iss=forge.claims["iss"][:-1]),
        ("InvalidIssuerError", CLAIM),
    ),
    "of another type": (
        lambda forge: forge.make(header={"typ": "reset+jwt"}),
        ("InvalidTokenError", CLAIM),
    ),
    "of no type": (lambda forge: forge.make(header={"typ": None}), ("InvalidTokenError", CLAIM)),
    "without a signature": (lambda forge: forge.resigned("none", lambda _: b""), ALGORITHM),
    "by HMAC with the public key": (by_hmac_with_the_public_key, ALGORITHM),
    "that is none": (lambda _: "tsr_AZnSpHsefGOfIW8KS4wt", ("DecodeError", "ERR_JWS_INVALID")),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_verifying_takes_ten_lines(language: str) -> None:
    assert len(code_lines(blocks(language)[0])) <= MOST_LINES


@pytest.mark.parametrize("language", LANGUAGES)
def test_following_takes_ten_lines(language: str) -> None:
    assert len(code_lines(blocks(language)[1])) <= MOST_LINES


def test_the_guide_names_every_claim_of_a_token(token: str) -> None:
    table = GUIDE.partition("| claim |")[2].partition("\n\n")[0]
    names = re.findall(r"`(\w+)`", "\n".join(row.split("|")[1] for row in table.splitlines() if "`" in row))
    assert set(names) == unverified(token).keys() - FOR_OTHERS


def test_the_guide_has_the_address_of_the_keys(client: Any) -> None:
    metadata = client.get("/.well-known/oauth-authorization-server").get_json()
    assert metadata["issuer"] == ISSUER
    path = metadata["jwks_uri"].removeprefix(ISSUER)
    assert all(f"{{ISSUER}}{path}" in blocks(language)[0] for language in LANGUAGES)


def test_the_guide_has_the_address_of_the_feed(client: Any) -> None:
    metadata = client.get("/.well-known/oauth-authorization-server").get_json()
    path = metadata["revocations_uri"].removeprefix(ISSUER)
    assert all(f"{{ISSUER}}{path}?" in blocks(language)[1] for language in LANGUAGES)


def test_the_lock_of_the_javascript_names_no_registry() -> None:
    lock = json.loads((ROOT / "tests" / "node" / "package-lock.json").read_text(encoding="utf-8"))
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]


def test_a_real_token_is_accepted(verifier: Verifier, token: str) -> None:
    assert verifier.verify(token) == unverified(token)


def test_a_token_that_the_forge_did_not_spoil_is_accepted(verifier: Verifier, forge: Forge) -> None:
    assert verifier.verify(forge.make()) == forge.claims


def test_a_token_that_expired_within_the_skew_of_clocks_is_accepted(verifier: Verifier, forge: Forge) -> None:
    assert verifier.verify(forge.make(exp=int(time.time()) - 10))


@pytest.mark.parametrize("forged", FORGED)
def test_no_token_is_accepted(verifier: Verifier, forge: Forge, forged: str) -> None:
    make, reasons = FORGED[forged]
    with pytest.raises(Refused, match=f"^{reasons[LANGUAGES.index(verifier.language)]}$"):
        verifier.verify(make(forge))


def test_a_revoked_token_is_accepted_before_the_feed_was_read(
    verifier: Verifier, issuer: Server, token: str
) -> None:
    sign_out(issuer, token)
    assert verifier.verify(token)


def test_a_revoked_token_is_refused_once_the_feed_was_read(
    verifier: Verifier, issuer: Server, token: str, follower: str
) -> None:
    since = verifier.follow(follower)
    verifier.verify(token)
    sign_out(issuer, token)
    verifier.follow(follower, since)
    with pytest.raises(Refused, match=f"^{ENDED[verifier.language]}$"):
        verifier.verify(token)


def test_the_token_of_a_deleted_user_is_refused_once_the_feed_was_read(
    verifier: Verifier, issuer: Server, token: str, follower: str
) -> None:
    sign_out(issuer, token, "/v1/users/me")
    verifier.follow(follower)
    with pytest.raises(Refused, match=f"^{ENDED[verifier.language]}$"):
        verifier.verify(token)


def test_the_other_sessions_of_a_user_live_on(
    verifier: Verifier, issuer: Server, mina: Person, follower: str
) -> None:
    phone, laptop = signed_in(issuer, mina.user["username"]), signed_in(issuer, mina.user["username"])
    sign_out(issuer, phone)
    verifier.follow(follower)
    assert verifier.verify(laptop)


def revoke_some(app: Flask, times: int, ended_at: datetime) -> set[str]:
    """Write that many sessions of somebody into the feed, and return their ids."""
    ids = [uuid4() for _ in range(times)]
    row = {"user_id": uuid4(), "reason": "signed_out", "ended_at": ended_at}
    with app.app_context(), work.writing():
        db.session.execute(sa.insert(Revocation), [row | {"session_id": name} for name in ids])
    return {str(session_id) for session_id in ids}


def test_a_feed_of_several_pages_is_read_to_its_end(app: Flask, verifier: Verifier, follower: str) -> None:
    ids = revoke_some(app, 450, datetime.now(UTC))
    verifier.follow(follower)
    assert ids <= verifier.remembered()


def test_what_has_no_living_token_is_forgotten(app: Flask, verifier: Verifier, follower: str) -> None:
    old = revoke_some(app, 2, datetime.now(UTC) - timedelta(hours=1))
    new = revoke_some(app, 2, datetime.now(UTC))
    verifier.follow(follower)
    assert old <= verifier.remembered()
    verifier.forget()
    assert (old | new) & verifier.remembered() == new


def test_the_feed_goes_on_from_the_number_that_it_gave(app: Flask, verifier: Verifier, follower: str) -> None:
    revoke_some(app, 3, datetime.now(UTC))
    since = verifier.follow(follower)
    assert verifier.follow(follower, since) == since


def test_the_feed_is_not_for_everybody(verifier: Verifier, token: str) -> None:
    with pytest.raises(Refused, match=r"^(HTTPError|Error)$"):
        verifier.follow(token)


@pytest.mark.parametrize(
    ("language", "reason"), [("python", "PyJWKClientConnectionError"), ("js", "TypeError")]
)
def test_keys_that_cannot_be_had_are_told_from_a_refusal(
    language: str, reason: str, forge: Forge, tmp_path: Path
) -> None:
    with (
        verifying(language, f"http://127.0.0.1:{free_port()}", tmp_path) as verifier,
        pytest.raises(Refused, match=f"^{reason}$"),
    ):
        verifier.verify(forge.make())


def test_no_good_token_is_refused_while_the_keys_rotate(tmp_path: Path) -> None:
    """On a service whose keys may be kept for a second, so that a new one signs after three."""
    port = free_port()
    with ExitStack() as stack:
        environ = {
            "TESSERA_ENV": "production",
            "TESSERA_SECRET_KEY": SECRET,
            "TESSERA_MAIL_URL": f"file:{tmp_path}",
            "TESSERA_LIMITS": "off",
            "TESSERA_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "TESSERA_DATABASE_URL": stack.enter_context(databases.fresh("sqlite", tmp_path)),
            "TESSERA_DATA_DIR": str(tmp_path),
            "TESSERA_KEY_SET_SECONDS": "1",
            "TESSERA_CLOCK_SKEW_SECONDS": "0",
        }
        verifiers = [
            stack.enter_context(verifying(language, f"http://127.0.0.1:{port}", tmp_path, key_set_seconds=1))
            for language in LANGUAGES
        ]
        server = stack.enter_context(serving(environ, tmp_path / "server.log", port=port))
        tokens = verified_until_another_key_signs(
            server, verifiers, lambda: tessera("key", "rotate", environ=environ)
        )
    assert len({kid_of(token) for token in tokens}) == 2


def verified_until_another_key_signs(
    server: Server, verifiers: Sequence[Verifier], rotate: Callable[[], Any]
) -> list[str]:
    """Let all verify new tokens from before a rotation until after it, and return the tokens."""
    details = new_details()
    assert server.call("POST", "/v1/users", details).status == 201
    tokens = [verified_by_all(server, verifiers, details["username"])]
    rotate()

    def has_another_key() -> bool:
        tokens.append(verified_by_all(server, verifiers, details["username"]))
        return kid_of(tokens[-1]) != kid_of(tokens[0])

    wait_until(has_another_key, "the new key signs")
    return tokens


def verified_by_all(server: Server, verifiers: Sequence[Verifier], identifier: str) -> str:
    token = signed_in(server, identifier)
    for verifier in verifiers:
        assert verifier.verify(token), verifier.language
    return token


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])
