"""Access tokens: only what this service signed, for this purpose, whole and in time, lets anybody in."""

import base64
import gc
import hashlib
import hmac
import json
import secrets
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from flask import Flask
from jwt.algorithms import ECAlgorithm
from jwt.utils import der_to_raw_signature
from werkzeug.test import TestResponse

from api.kit.db import db
from api.sessions.tokens import Bearer, VerifiedTokens, make_access_token
from tests.support import databases
from tests.support.clients import ContractClient, Person, client_of, new_person
from tests.support.signing import signing_key
from tests.support.watching import looks_outside, set_user, statements

pytestmark = databases.ON_SQLITE

URL = "https://id.example.com"
ME = "/v1/users/me"
LIFETIME = 900  # seconds, by default
SKEW = 30  # seconds
REGISTERED = [
    "iss",
    "sub",
    "aud",
    "iat",
    "nbf",
    "exp",
    "jti",
    "sid",
    "roles",
    "scope",
    "amr",
    "auth_time",
    "gen",
]
DROP = object()
ANOTHER_ID = "0199d2a4-7b1e-7c63-9f21-6f0a4b8c2d10"
RSA = rsa.generate_private_key(65537, 2048)


# One person for all tests here: none of them ends her session, and none uses `app`, which empties the tables.


@pytest.fixture(scope="module")
def holder(shared_app: Flask) -> Iterator[Person]:
    """Somebody whose session all the tokens here are for."""
    yield new_person(shared_app)
    with shared_app.app_context():
        databases.wipe(db.engine)


@pytest.fixture(scope="module")
def forge(shared_app: Flask, holder: Person) -> "Forge":
    return Forge(shared_app, holder.tokens["access_token"])


class Forge:
    """Makes tokens with the service's own key."""

    def __init__(self, app: Flask, token: str) -> None:
        key = signing_key(app)
        self.key = key.private
        self.kid = key.kid
        self.token = token
        self.header = jwt.get_unverified_header(token)
        self.issued = jwt.decode(token, options={"verify_signature": False})

    @property
    def claims(self) -> dict[str, Any]:
        """The claims of a good token, made now."""
        now = int(time.time())
        return self.issued | {"iat": now, "nbf": now, "exp": now + LIFETIME - 60, "jti": str(uuid4())}

    def sign(self, header: Any = None, claims: Any = None, key: Any = None) -> str:
        """Return a token of this header and these claims, right in all else; bytes are taken as they are."""
        signed = f"{_part(self.header if header is None else header)}.{_part(claims or self.claims)}"
        return f"{signed}.{_b64(_es256(key or self.key, signed))}"

    def with_claims(self, **changed: Any) -> str:
        return self.sign(claims=_changed(self.claims, changed))

    def with_header(self, **changed: Any) -> str:
        return self.sign(header=_changed(self.header, changed))


def _changed(members: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (members | changed).items() if value is not DROP}


def _part(content: Any) -> str:
    return _b64(content if isinstance(content, bytes) else json.dumps(content).encode())


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _unb64(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _es256(key: ec.EllipticCurvePrivateKey, signed: str, digest: Any = None) -> bytes:
    signature = key.sign(signed.encode(), ec.ECDSA(digest or hashes.SHA256()))
    return der_to_raw_signature(signature, key.curve)


def _get(person: Person, token: str) -> TestResponse:
    return person.client.get(ME, headers={"Authorization": f"Bearer {token}"})


def refuses(person: Person, token: str) -> None:
    """Assert that a token is refused as every bad one is."""
    _is_invalid_token(_get(person, token))


def _is_invalid_token(response: TestResponse) -> None:
    assert response.status_code == 401, response.text
    assert response.get_json(force=True)["code"] == "invalid_token"
    assert response.headers.getlist("WWW-Authenticate") == ['Bearer error="invalid_token"']


# What is accepted


def test_the_token_that_signing_in_gave_is_accepted(holder: Person) -> None:
    assert _get(holder, holder.tokens["access_token"]).get_json()["id"] == holder.id


def test_a_token_made_like_it_is_accepted(holder: Person, forge: Forge) -> None:
    assert _get(holder, forge.sign()).status_code == 200
    assert _get(holder, jwt.encode(forge.claims, forge.key, "ES256", forge.header)).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_read_without_regard_to_case(holder: Person, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {holder.tokens['access_token']}"}
    assert holder.client.get(ME, headers=headers).status_code == 200


def test_the_clocks_of_two_servers_may_differ_a_little(holder: Person, forge: Forge) -> None:
    with time_machine.travel(int(time.time()), tick=False):
        now = int(time.time())
        late = forge.with_claims(iat=now - 100, nbf=now - 100, exp=now - SKEW + 1)
        early = forge.with_claims(iat=now + SKEW, nbf=now + SKEW, exp=now + 600)
        assert [_get(holder, token).status_code for token in (late, early)] == [200, 200]


# Claims

DROPPED_OR_NULL = [(name, value) for name in REGISTERED for value in (DROP, None)]


@pytest.mark.parametrize(
    ("name", "value"),
    DROPPED_OR_NULL,
    ids=[f"{n}-{'null' if v is None else 'none'}" for n, v in DROPPED_OR_NULL],
)
def test_a_token_that_lacks_a_claim_is_refused(holder: Person, forge: Forge, name: str, value: Any) -> None:
    refuses(holder, forge.with_claims(**{name: value}))


@pytest.mark.parametrize("kind", ["refresh", "reset", "", None, 1, ["access"]])
def test_a_token_of_another_type_is_refused(holder: Person, forge: Forge, kind: Any) -> None:
    refuses(holder, forge.with_claims(type=kind))


def test_a_token_without_a_type_is_refused(holder: Person, forge: Forge) -> None:
    refuses(holder, forge.with_claims(type=DROP))


@pytest.mark.parametrize(
    "issuer",
    ["https://evil.example", URL + "/", URL.upper(), "", 1, [URL], {"a": URL}, True, f"{URL}.evil.example"],
)
def test_a_token_of_another_issuer_is_refused(holder: Person, forge: Forge, issuer: Any) -> None:
    refuses(holder, forge.with_claims(iss=issuer))


@pytest.mark.parametrize(
    "audience",
    [
        "https://other.example",
        URL + "/",
        "",
        1,
        [],
        [URL],
        ["https://other.example"],
        [URL, "https://other.example"],
        {"a": URL},
        True,
    ],
)
def test_a_token_for_another_audience_is_refused(holder: Person, forge: Forge, audience: Any) -> None:
    refuses(holder, forge.with_claims(aud=audience))


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": 1},
        {"sub": ""},
        {"sub": "me"},
        {"sub": ["me"]},
        {"sub": ANOTHER_ID},
        {"sid": ANOTHER_ID},
        {"sid": 1},
        {"sid": "current"},
        {"sid": "' OR 1=1 --"},
        {"sid": "\x00"},
        {"sid": "\ud800"},
        {"jti": 1},
        {"jti": []},
        {"roles": "admin"},
        {"roles": {}},
        {"amr": "pwd"},
        {"scope": ["users:read"]},
        {"auth_time": "1"},
        {"auth_time": 1.5},
        {"auth_time": True},
    ],
    ids=str,
)
def test_a_token_of_an_odd_claim_is_refused(holder: Person, forge: Forge, claims: dict[str, Any]) -> None:
    refuses(holder, forge.with_claims(**claims))


@pytest.mark.parametrize("name", ["sub", "sid"])
def test_an_id_has_one_spelling(holder: Person, forge: Forge, name: str) -> None:
    value = str(forge.claims[name])
    for spelling in (value.upper(), value.replace("-", ""), f"{{{value}}}", f"urn:uuid:{value}", f" {value}"):
        refuses(holder, forge.with_claims(**{name: spelling}))


def test_a_token_of_ones_session_for_another_user_is_refused(
    holder: Person, forge: Forge, shared_app: Flask
) -> None:
    other = new_person(shared_app)
    refuses(holder, forge.with_claims(sub=other.id))
    refuses(holder, forge.with_claims(sid=other.tokens["session"]["id"]))


def test_roles_and_scope_of_a_token_give_nothing_here(holder: Person, forge: Forge) -> None:
    token = forge.with_claims(roles=["admin"], scope="users:read users:write sessions:read")
    response = holder.client.get("/v1/users", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 403
    assert 'error="insufficient_scope"' in response.headers["WWW-Authenticate"]


def test_an_auth_time_of_a_token_makes_no_sign_in_fresh(holder: Person, forge: Forge) -> None:
    with time_machine.travel(time.time() + 400):
        token = forge.with_claims(auth_time=int(time.time()))
        response = holder.client.delete(ME, headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 401
    assert response.get_json(force=True)["code"] == "reauthentication_required"


@pytest.mark.parametrize("payload", [b"[]", b'"x"', b"1", b"null", b"", b"{", b"\xff", b"{}", b"[" * 3000])
def test_a_payload_that_is_no_object_of_claims_is_refused(
    holder: Person, forge: Forge, payload: bytes
) -> None:
    refuses(holder, forge.sign(claims=payload) if payload else _without_payload(forge))


def _without_payload(forge: Forge) -> str:
    signed = f"{_part(forge.header)}."
    return f"{signed}.{_b64(_es256(forge.key, signed))}"


def test_a_claim_given_twice_is_refused_or_the_last_one(holder: Person, forge: Forge) -> None:
    good = json.dumps(forge.claims)[:-1]
    refuses(holder, forge.sign(claims=f'{good}, "iss": "https://evil.example"}}'.encode()))


# Time


def _times(iat: Any = 0, nbf: Any = 0, exp: Any = 600) -> Callable[[int], dict[str, Any]]:
    """Return what makes times from now: a whole number is added to it, a function gets it, others stay."""

    def at(now: int) -> dict[str, Any]:
        given = {"iat": iat, "nbf": nbf, "exp": exp}
        return {name: _time(value, now) for name, value in given.items()}

    return at


def _time(value: Any, now: int) -> Any:
    if callable(value):
        return value(now)
    return now + value if type(value) is int else value


@pytest.mark.parametrize(
    "times",
    {
        "expired": _times(-700, -700, -SKEW - 1),
        "expired long ago": _times(-5000, -5000, -4200),
        "nbf in future": _times(nbf=SKEW + 1),
        "iat in future": _times(iat=SKEW + 1),
        "all in future": _times(3600, 3600, 4000),
        "longer than configured": _times(exp=LIFETIME + 1),
        "a year": _times(exp=365 * 86400),
        "never ends": _times(exp=10**30),
        "exp float": _times(exp=lambda now: now + 300.5),
        "exp whole float": _times(exp=lambda now: float(now + 300)),
        "exp 1e30": _times(exp=1e30),
        "exp string": _times(exp=lambda now: str(now + 300)),
        "exp word": _times(exp="never"),
        "exp true": _times(exp=True),
        "exp infinity": _times(exp=float("inf")),
        "exp nan": _times(exp=float("nan")),
        "exp list": _times(exp=[4000000000]),
        "exp negative": _times(exp=-(10**30)),
        "nbf true": _times(nbf=True),
        "nbf string": _times(nbf="0"),
        "nbf float": _times(nbf=0.5),
        "iat true": _times(iat=True),
        "iat string": _times(iat="0"),
        "iat float": _times(iat=lambda now: now + 0.5),
        "iat huge": _times(iat=10**30),
        "lifetime from the past": _times(iat=-(10**9), exp=300),
    }.items(),
    ids=lambda case: case[0],
)
def test_a_token_out_of_its_time_is_refused(
    holder: Person, forge: Forge, times: tuple[str, Callable[[int], dict[str, Any]]]
) -> None:
    with time_machine.travel(int(time.time()), tick=False):
        refuses(holder, forge.with_claims(**times[1](int(time.time()))))


def test_a_token_ends_with_the_second_in_which_the_clocks_cannot_differ(holder: Person, forge: Forge) -> None:
    with time_machine.travel(int(time.time()), tick=False) as clock:
        token = forge.with_claims(exp=int(time.time()) + 60)
        for tokens in ([token], [token, forge.with_claims(exp=int(time.time()) + 60)]):  # seen before, or not
            clock.shift(60 + SKEW - 1)
            assert {_get(holder, one).status_code for one in tokens} == {200}
            clock.shift(1)
            assert {_get(holder, one).status_code for one in tokens} == {401}
            clock.shift(-60 - SKEW)


def test_a_token_begins_with_the_second_in_which_the_clocks_may_differ(holder: Person, forge: Forge) -> None:
    with time_machine.travel(int(time.time()), tick=False):
        now = int(time.time())
        seen = [
            _get(holder, forge.with_claims(iat=now + ahead, nbf=now + ahead, exp=now + 600)).status_code
            for ahead in (SKEW, SKEW + 1)
        ]
    assert seen == [200, 401]


def test_a_token_that_was_good_is_refused_once_it_has_expired(holder: Person, forge: Forge) -> None:
    with time_machine.travel(int(time.time()), tick=False) as clock:
        token = forge.sign()
        assert [_get(holder, token).status_code for _ in range(2)] == [200, 200]
        clock.shift(LIFETIME)
        refuses(holder, token)


# Header


@pytest.mark.parametrize(
    "kind",
    [
        DROP,
        None,
        "",
        "JWT",
        "jwt",
        "logout+jwt",
        "reset+jwt",
        "rt+jwt",
        "AT+JWT",
        "at+jwt ",
        1,
        ["at+jwt"],
        {},
    ],
    ids=lambda kind: "none" if kind is DROP else str(kind),
)
def test_a_token_for_another_purpose_is_refused(holder: Person, forge: Forge, kind: Any) -> None:
    refuses(holder, forge.with_header(typ=kind))


@pytest.mark.parametrize(
    "kid",
    [
        DROP,
        None,
        "",
        "unknown",
        0,
        1.5,
        True,
        [],
        {},
        "../../../../dev/null",
        "/dev/null",
        "file:///dev/null",
        "https://evil.example/jwks.json",
        "' OR 1=1 --",
        "| touch owned",
        "\x00",
        "\ud800",
        "k" * 5000,
        "k" * 10240,
    ],
    ids=lambda kid: "none" if kid is DROP else str(kid)[:20],
)
def test_a_token_of_an_unknown_key_is_refused(holder: Person, forge: Forge, kid: Any) -> None:
    refuses(holder, forge.with_header(kid=kid))


@pytest.mark.parametrize("spoil", [str.upper, str.swapcase, lambda kid: kid[:-1], lambda kid: f"{kid} "])
def test_a_key_id_that_is_nearly_right_is_refused(
    holder: Person, forge: Forge, spoil: Callable[[str], str]
) -> None:
    refuses(holder, forge.with_header(kid=spoil(forge.kid)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jku", f"{URL}/.well-known/jwks.json"),
        ("jku", "http://127.0.0.1:1/jwks.json"),
        ("jku", "file:///etc/passwd"),
        ("x5u", "http://127.0.0.1:1/cert.pem"),
        ("jwk", {"kty": "oct", "k": "AAAA"}),
        ("x5c", ["MIIB"]),
        ("x5t", "AAAA"),
        ("crit", ["exp"]),
        ("crit", ["b64"]),
        ("crit", []),
        ("crit", "exp"),
        ("b64", False),
        ("b64", True),
        ("zip", "DEF"),
        ("cty", "JWT"),
        ("enc", "A256GCM"),
        ("epk", {}),
        ("whatever", 1),
    ],
)
def test_a_header_that_we_do_not_write_is_refused(
    holder: Person, forge: Forge, name: str, value: Any
) -> None:
    refuses(holder, forge.with_header(**{name: value}))


def test_an_unknown_key_is_asked_for_nowhere(holder: Person, forge: Forge, shared_app: Flask) -> None:
    kids = (
        "unknown",
        "../../../../dev/null",
        "file:///dev/null",
        "http://127.0.0.1:1/k",
        "' OR 1=1 --",
        0,
        None,
    )
    with time_machine.travel(int(time.time()), tick=False):
        assert _get(holder, forge.sign()).status_code == 200  # now the keys have just been read
        with statements(shared_app, keys=True) as asked, looks_outside() as looked:
            for kid in kids:
                refuses(holder, forge.with_header(kid=kid))
    assert (asked, looked) == ([], [])


def test_no_url_in_a_header_is_called(holder: Person, forge: Forge, shared_app: Flask) -> None:
    jwk = ECAlgorithm.to_jwk(forge.key.public_key(), as_dict=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
        urls = {"jku": url, "x5u": url, "kid": url, "typ": url, "jwk": jwk | {"x5u": url}, "x5c": [url]}
        with looks_outside() as looked:
            for name, value in urls.items():
                refuses(holder, forge.with_header(**{name: value}))
            refuses(holder, forge.with_claims(iss=url))
        listener.setblocking(False)  # the system accepts connections by itself: one would be here by now
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert [look for look in looked if "socket" in look and str(url) in look] == []


@pytest.mark.parametrize("header", [b"[]", b'"x"', b"1", b"null", b"{", b"\xff", b"{}", b"x", b"[" * 3000])
def test_a_header_that_is_no_object_of_ours_is_refused(holder: Person, forge: Forge, header: bytes) -> None:
    refuses(holder, forge.sign(header=header))


# Algorithm and key


def _shown(value: object) -> str:
    return "dropped" if value is DROP else str(value)


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", None, DROP, ["none"], 0], ids=_shown)
@pytest.mark.parametrize("signature", ["", "AA", None], ids=["empty", "any", "right"])
def test_a_token_of_no_algorithm_is_refused(
    holder: Person, forge: Forge, name: Any, signature: str | None
) -> None:
    token = forge.with_header(alg=name)
    if signature is not None:
        token = f"{token.rpartition('.')[0]}.{signature}"
    refuses(holder, token)


@pytest.mark.parametrize(
    "algorithm", ["ES384", "ES512", "ES256K", "es256", "ES256 ", "EdDSA", "RS256", "PS256", "HS256"]
)
def test_a_token_that_names_another_algorithm_is_refused(
    holder: Person, forge: Forge, algorithm: str
) -> None:
    refuses(holder, forge.with_header(alg=algorithm))


def test_another_digest_is_refused(holder: Person, forge: Forge) -> None:
    for name in ("ES256", "ES384"):
        signed = f"{_part(forge.header | {'alg': name})}.{_part(forge.claims)}"
        refuses(holder, f"{signed}.{_b64(_es256(forge.key, signed, hashes.SHA384()))}")


def _public_forms(key: ec.EllipticCurvePublicKey) -> dict[str, bytes]:
    encoding, kind = serialization.Encoding, serialization.PublicFormat
    pem = key.public_bytes(encoding.PEM, kind.SubjectPublicKeyInfo)
    jwk: dict[str, Any] = ECAlgorithm.to_jwk(key, as_dict=True)
    return {
        "pem": pem,
        "pem without its end": pem.strip(),
        "der": key.public_bytes(encoding.DER, kind.SubjectPublicKeyInfo),
        "point": key.public_bytes(encoding.X962, kind.UncompressedPoint),
        "ssh": key.public_bytes(encoding.OpenSSH, kind.OpenSSH),
        "jwk": json.dumps(jwk).encode(),
        "jwk compact": json.dumps(jwk, separators=(",", ":")).encode(),
        "x": _unb64(str(jwk["x"])),
        "nothing": b"",
    }


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_our_public_key_is_no_shared_secret(holder: Person, forge: Forge, digest: str) -> None:
    header = forge.header | {"alg": f"HS{digest[3:]}"}
    for secret in _public_forms(forge.key.public_key()).values():
        signed = f"{_part(header)}.{_part(forge.claims)}"
        refuses(holder, f"{signed}.{_b64(hmac.digest(secret, signed.encode(), digest))}")


def test_a_key_of_somebody_else_is_refused(holder: Person, forge: Forge) -> None:
    foreign = ec.generate_private_key(ec.SECP256R1())
    refuses(holder, forge.sign(key=foreign))
    jwk = ECAlgorithm.to_jwk(foreign.public_key(), as_dict=True)
    refuses(holder, forge.sign(header=forge.header | {"jwk": jwk}, key=foreign))
    thumbprint = hashlib.sha256(json.dumps({k: jwk[k] for k in ("crv", "kty", "x", "y")}).encode()).digest()
    refuses(holder, forge.sign(header=forge.header | {"kid": _b64(thumbprint)}, key=foreign))


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", RSA),
        ("PS256", RSA),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
        ("ES384", ec.generate_private_key(ec.SECP384R1())),
        ("ES256K", ec.generate_private_key(ec.SECP256K1())),
        ("HS256", "a shared secret of more than 32 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "key",
)
def test_a_key_of_another_kind_is_refused(holder: Person, forge: Forge, algorithm: str, key: Any) -> None:
    header = {"typ": "at+jwt", "kid": forge.kid}
    refuses(holder, jwt.encode(forge.claims, key, algorithm, header))


def test_one_algorithm_is_configured_and_no_shared_secret(shared_app: Flask) -> None:
    assert shared_app.config["JWT_DECODE_ALGORITHMS"] == [shared_app.config["JWT_ALGORITHM"]] == ["ES256"]
    for name in ("SECRET_KEY", "JWT_SECRET_KEY", "JWT_PUBLIC_KEY", "JWT_PRIVATE_KEY"):
        assert shared_app.config.get(name) is None


# Signature and encoding


def _spoilt_signatures(right: bytes) -> dict[str, bytes]:
    r, s = right[:32], right[32:]
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    number = int.from_bytes(s)
    return {
        "empty": b"",
        "zeros": bytes(64),
        "ones": (1).to_bytes(32) * 2,
        "r zero": bytes(32) + s,
        "s zero": r + bytes(32),
        "r and s the order": order.to_bytes(32) * 2,
        "all bits": b"\xff" * 64,
        "one bit": bytes([right[0] ^ 1]) + right[1:],
        "last bit": right[:-1] + bytes([right[-1] ^ 1]),
        "cut": right[:-1],
        "half": r,
        "one more": right + b"\x00",
        "one before": b"\x00" + right,
        "twice": right * 2,
        "swapped": s + r,
        "der": _der(right),
        "s beyond the order": r + ((number + order) % 2**256).to_bytes(32),
    }


def _der(right: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(right[:32]), int.from_bytes(right[32:]))


def test_a_signature_that_is_not_the_right_one_is_refused(holder: Person, forge: Forge) -> None:
    signed, _, signature = forge.sign().rpartition(".")
    for spoilt in _spoilt_signatures(_unb64(signature)).values():
        refuses(holder, f"{signed}.{_b64(spoilt)}")


def test_a_signature_is_for_its_header_and_claims_only(holder: Person, forge: Forge) -> None:
    header, claims, signature = forge.sign().split(".")
    refuses(holder, f"{header}.{_part(forge.claims | {'roles': ['admin']})}.{signature}")
    refuses(holder, f"{_part(forge.header | {'typ': 'AT+JWT'})}.{claims}.{signature}")


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _other_spellings(part: str) -> Iterator[str]:
    """Yield texts that a careless decoder reads as the same bytes."""
    if len(part) % 4:
        first = ALPHABET.index(part[-1])
        for last in ALPHABET:
            if last != part[-1] and _unb64(part[:-1] + last) == _unb64(part):
                assert first != ALPHABET.index(last)
                yield part[:-1] + last
    yield part + "="
    yield part + "=="
    yield part + "=" * (-len(part) % 4 or 4)
    yield part + "A===="
    for filler in ("~", "+", "/"):
        yield f"{part[:4]}{filler}{part[4:]}"


@pytest.mark.parametrize("index", [0, 1, 2], ids=["header", "claims", "signature"])
def test_a_part_has_one_spelling(holder: Person, forge: Forge, index: int) -> None:
    parts = forge.sign().split(".")
    for spelling in _other_spellings(parts[index]):
        refuses(holder, ".".join([*parts[:index], spelling, *parts[index + 1 :]]))


def test_the_unused_bits_of_a_signature_were_tried(forge: Forge) -> None:
    signature = forge.sign().rpartition(".")[2]
    assert len([other for other in _other_spellings(signature) if len(other) == len(signature)]) == 15


def test_a_token_has_three_parts(holder: Person, forge: Forge) -> None:
    header, claims, signature = forge.sign().split(".")
    for parts in (
        [header, claims],
        [header],
        [header, claims, signature, ""],
        ["", header, claims, signature],
        [header, claims, signature, signature],
        [header, "", claims, "", signature],
        [header, claims, "", signature],
        ["", "", ""],
        [header, "", signature],
        ["", claims, signature],
        [claims, header, signature],
    ):
        refuses(holder, ".".join(parts))


def test_no_other_serialisation_is_a_token(holder: Person, forge: Forge) -> None:
    header, claims, signature = forge.sign().split(".")
    flattened = json.dumps({"protected": header, "payload": claims, "signature": signature})
    refuses(holder, flattened)
    refuses(holder, f"{flattened}.{claims}.{signature}")
    refuses(holder, _b64(flattened.encode()))


def test_a_token_of_100_kib_is_refused(holder: Person, forge: Forge) -> None:
    refuses(holder, forge.with_claims(filler="a" * 75000))
    refuses(holder, "a" * 100_000)
    refuses(holder, "." * 100_000)
    refuses(holder, f"{'a' * 50_000}.{'a' * 50_000}.a")


def test_of_verified_tokens_only_so_many_are_remembered() -> None:
    verified = VerifiedTokens(most=3)
    bearer = Bearer(uuid4(), uuid4(), 0, "kid")
    for number in range(5):
        verified.add(bytes([number]), bearer, time.time() + 60)
    assert [verified.get(bytes([number])) for number in range(5)] == [None, None, bearer, bearer, bearer]


def test_long_tokens_that_are_refused_take_no_memory(holder: Person, shared_app: Flask) -> None:
    client = shared_app.test_client()

    def send(times: int) -> None:
        for _ in range(times):
            token = f"{secrets.token_hex(1300)}.{secrets.token_hex(1300)}.{secrets.token_hex(1300)}"
            assert client.get(ME, headers={"Authorization": f"Bearer {token}"}).status_code == 401

    tracemalloc.start()
    try:
        send(20)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        send(200)  # 1.5 MB
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 400_000


# Where a token may be


@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "Bearer",
        "Bearer ",
        "Bearer{}",
        "Bearer\t{}",
        "Bearer: {}",
        "Bearer {} ",
        "Bearer {}, Bearer {}",
        "Bearer {},Bearer {}",
        "Bearer {} {}",
        "Bearer {};",
        'Bearer "{}"',
        "Bearer <{}>",
        "Basic {}",
        "Token {}",
        "JWT {}",
        "DPoP {}",
        "Bearer Bearer {}",
        "Bearer access_token={}",
        "Bearer \xe4{}",
        "Bearer {}\xe4",
        "Bearer {}\r\nX-A: b",
        "Bearer {}\n",
        "Bearer \x00{}",
        "",
    ],
)
def test_another_form_of_the_header_is_refused(holder: Person, form: str) -> None:
    header = form.replace("{}", holder.tokens["access_token"])
    response = holder.client.get(ME, environ_overrides={"HTTP_AUTHORIZATION": header})
    _is_invalid_token(response)


def test_two_authorization_headers_are_refused(holder: Person, forge: Forge) -> None:
    headers = [("Authorization", f"Bearer {token}") for token in (forge.sign(), forge.sign())]
    _is_invalid_token(holder.client.get(ME, headers=headers))


@pytest.mark.parametrize("name", ["access_token", "token", "jwt", "Authorization"])
def test_a_token_in_the_query_is_none(holder: Person, name: str) -> None:
    _is_absent(holder.client.get(f"{ME}?{name}={holder.tokens['access_token']}"))


@pytest.mark.parametrize("name", ["access_token", "access_token_cookie", "token", "Authorization"])
def test_a_token_in_a_cookie_is_none(holder: Person, name: str) -> None:
    cookie = f"{name}={holder.tokens['access_token']}"
    _is_absent(holder.client.get(ME, headers={"Cookie": cookie}))


def test_a_token_in_the_body_is_none(holder: Person) -> None:
    token = {"access_token": holder.tokens["access_token"]}
    _is_absent(holder.client.patch(ME, json=token))
    _is_absent(holder.client.patch(ME, data=token))


def test_a_token_in_another_header_is_none(holder: Person) -> None:
    bearer = f"Bearer {holder.tokens['access_token']}"
    for name in ("X-Authorization", "Proxy-Authorization", "X-Forwarded-Authorization", "X-Access-Token"):
        _is_absent(holder.client.get(ME, headers={name: bearer}))


def _is_absent(response: TestResponse) -> None:
    assert response.status_code == 401, response.text
    assert response.get_json(force=True)["code"] == "authentication_required"
    assert response.headers.getlist("WWW-Authenticate") == ["Bearer"]


# Other kinds of token


def test_a_refresh_token_is_no_access_token(holder: Person) -> None:
    refuses(holder, holder.sign_in()["refresh_token"])


def test_an_access_token_is_no_refresh_token(holder: Person) -> None:
    response = holder.refresh(holder.tokens["access_token"])
    assert response.status_code == 401
    assert response.get_json(force=True)["code"] == "invalid_refresh_token"
    assert _get(holder, holder.tokens["access_token"]).status_code == 200


# What a token says


def test_a_token_says_what_the_contract_lists_and_no_more(holder: Person, forge: Forge) -> None:
    assert forge.issued.keys() == {*REGISTERED, "type", "fresh"}
    assert forge.header == {"alg": "ES256", "kid": forge.kid, "typ": "at+jwt"}


def test_a_token_says_whose_it_is_by_ids_alone(holder: Person, forge: Forge) -> None:
    assert (forge.issued["sub"], forge.issued["sid"]) == (holder.id, holder.tokens["session"]["id"])
    said = json.dumps(forge.issued)
    for name in ("username", "email"):
        assert holder.user[name] not in said
    assert holder.user["email"].partition("@")[0] not in said


def test_a_token_is_by_and_for_the_public_url(forge: Forge) -> None:
    assert (forge.issued["iss"], forge.issued["aud"]) == (URL, URL)


def test_a_refreshed_token_says_what_the_user_may_by_then(shared_app: Flask) -> None:
    person = new_person(shared_app, admin=True)
    before = jwt.decode(person.tokens["access_token"], options={"verify_signature": False})
    set_user(shared_app, person.id, roles=[])
    tokens = person.refresh().get_json()
    after = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    assert ("users:write" in before["scope"].split(), before["roles"]) == (True, ["admin"])
    assert (after["scope"], after["roles"]) == ("", [])


def test_a_refresh_asks_for_no_scope(shared_app: Flask) -> None:
    person = new_person(shared_app)
    body = {"refresh_token": person.tokens["refresh_token"]}
    for name, value in (("scope", "users:write"), ("roles", ["admin"]), ("audience", "https://evil.example")):
        refused = person.client.post("/v1/sessions/refresh", json={**body, name: value})
        assert [error["pointer"] for error in refused.get_json()["errors"]] == [f"/{name}"]


def test_every_token_has_an_id_of_its_own(holder: Person, forge: Forge) -> None:
    other = jwt.decode(holder.sign_in()["access_token"], options={"verify_signature": False})
    assert other["jti"] != forge.issued["jti"]


def test_a_token_lives_as_long_as_configured_or_up_to_a_twentieth_less(holder: Person) -> None:
    for tokens in (holder.tokens, *(holder.sign_in() for _ in range(3))):
        claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
        assert claims["iat"] == claims["nbf"]
        assert LIFETIME * 0.95 <= claims["exp"] - claims["iat"] <= LIFETIME


def test_the_answer_says_when_the_token_ends(holder: Person, forge: Forge) -> None:
    assert datetime.fromisoformat(holder.tokens["expires_at"]).timestamp() == forge.issued["exp"]
    lifetime = forge.issued["exp"] - forge.issued["iat"]
    assert lifetime - 3 <= holder.tokens["expires_in"] <= lifetime


def test_the_lives_of_tokens_spread(shared_app: Flask, holder: Person) -> None:
    with shared_app.app_context():
        end = datetime.now(UTC) + timedelta(days=1)
        key = signing_key(shared_app)
        made = [make_access_token(key, uuid4(), {}, not_after=end).text for _ in range(40)]
    claims = [jwt.decode(text, options={"verify_signature": False}) for text in made]
    assert len({claim["exp"] - claim["iat"] for claim in claims}) > 3


def test_another_service_verifies_by_the_key_set_alone(shared_app: Flask, holder: Person) -> None:
    token = holder.tokens["access_token"]
    key_set = jwt.PyJWKSet.from_dict(_key_set(client_of(shared_app)))
    key = key_set[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, ["ES256"], audience=URL, issuer=URL, options={"require": REGISTERED})
    assert claims["sub"] == holder.id


def test_the_key_set_has_public_parts_only(shared_app: Flask) -> None:
    for key in _key_set(client_of(shared_app))["keys"]:
        assert key.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}
        assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")


def test_a_key_is_named_by_its_thumbprint(shared_app: Flask) -> None:
    for key in _key_set(client_of(shared_app))["keys"]:
        members = {name: key[name] for name in ("crv", "kty", "x", "y")}
        digest = hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest()
        assert key["kid"] == _b64(digest)


def test_the_key_set_may_be_kept_by_caches(shared_app: Flask) -> None:
    response = client_of(shared_app).get("/.well-known/jwks.json")
    assert response.headers["Cache-Control"] == "public, max-age=300"


def _key_set(client: ContractClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/.well-known/jwks.json").get_json()
    return found
