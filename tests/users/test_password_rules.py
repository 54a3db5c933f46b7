"""Which passwords nobody may choose: what attackers try first, and what holds the user's own names."""

import hashlib
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from api.app import create_app
from api.kit import password_lists
from api.kit.password_lists import COMMON, Hashes, Words
from api.kit.problems import ValidationFailed
from api.kit.settings import SettingsError
from api.users import identifiers
from tests.conftest import MakeApp
from tests.support import databases
from tests.support.clients import PASSWORD, ContractClient, Person, client_of, new_details
from tests.support.commands import tessera_here

pytestmark = databases.ON_SQLITE

TOO_COMMON, CONTAINS_NAME = "password_too_common", "password_contains_name"
BREACHED = "a sentence that has leaked"
WORDS = Path(password_lists.__file__).with_name("common_passwords.txt")


def sign_up(client: ContractClient, **more: Any) -> TestResponse:
    return client.post("/v1/users", json=new_details(**more))


def codes_of(response: TestResponse) -> set[tuple[str, str]]:
    assert response.status_code == 422, response.text
    return {(error["pointer"], error["code"]) for error in response.get_json()["errors"]}


def commonest(count: int) -> list[str]:
    lines = WORDS.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("# ")][:count]


def hash_of(password: str) -> str:
    return hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()


def write_hashes(path: Path, passwords: list[str], line: str = "{}:3\r\n") -> Path:
    hashes = sorted(map(hash_of, passwords))
    path.write_bytes("".join(line.format(one) for one in hashes).encode())
    return path


# Common ones


@pytest.mark.parametrize(
    "password",
    [
        "password",
        "12345678",
        "qwertyuiop",
        "123123123",
        "88888888",
        "1q2w3e4r5t",
        "iloveyou",
        "jennifer",
        "P@ssw0rd",
        "Password1",
        "BASEBALL",
        "ILoveYou",
    ],
)
def test_what_everybody_tries_first_may_not_be_chosen(client: ContractClient, password: str) -> None:
    assert codes_of(sign_up(client, password=password)) == {("/password", TOO_COMMON)}


def test_none_of_the_3000_commonest_may_be_chosen(app: Flask) -> None:
    with app.app_context():
        for password in commonest(3000):
            for spelling in {password, password.upper(), password.title()}:
                with pytest.raises(ValidationFailed) as refusal:
                    identifiers.columns(password=spelling)
                assert refusal.value.errors[0].message.code == TOO_COMMON


def test_a_password_of_several_lines_is_not_taken_for_two_of_the_list() -> None:
    first, second = commonest(2)
    assert f"{first}\n{second}" not in COMMON


@pytest.mark.parametrize(
    "password",
    [
        "wvqjkzhx mbrpdlt fgs",
        "a sentence with spaces",
        "\U0001f469\U0001f680" * 4,
        "8302764915",
        "NEVERONLYUPPER",
    ],
)
def test_no_kind_of_character_is_asked_for(client: ContractClient, password: str) -> None:
    assert sign_up(client, password=password).status_code == 201


def test_a_password_is_changed_by_the_same_rules(mina: Person) -> None:
    change = {"current_password": PASSWORD, "new_password": "Football"}
    refused = mina.call("PUT", "/v1/users/me/password", change)
    assert codes_of(refused) == {("/new_password", TOO_COMMON)}


# Names


@pytest.mark.parametrize(
    "password",
    [
        "Mina.Kim 1987",
        "my name is MINA.KIM",
        "post@work-mail-and-you",
        "Work-Mail4711",
        "I like Tessera",
        "at EXAMPLE again",
        "\uff2d\uff49\uff4e\uff41.\uff2b\uff49\uff4d 2026",
    ],
    ids=ascii,
)
def test_a_password_may_not_contain_a_name(client: ContractClient, password: str) -> None:
    refused = sign_up(client, username="mina.kim", email="work-mail@example.com", password=password)
    assert codes_of(refused) == {("/password", CONTAINS_NAME)}


@pytest.mark.parametrize(
    ("username", "email"), [("kim", "kim@example.com"), ("staplers", "horses@example.com")]
)
def test_a_password_may_contain_what_is_short_or_not_the_whole_name(
    client: ContractClient, username: str, email: str
) -> None:
    made = sign_up(client, username=username, email=email, password="kim's correct horse battery staple")
    assert made.status_code == 201


def test_a_name_in_the_password_is_told_with_all_other_errors(client: ContractClient) -> None:
    refused = sign_up(client, username="mina.kim", email="nowhere", password="mina.kim 1987", locale=7)
    assert codes_of(refused) == {
        ("/email", "invalid_email"),
        ("/password", CONTAINS_NAME),
        ("/locale", "invalid_type"),
    }


@pytest.mark.parametrize("by", ["mina", "admin"])
def test_a_changed_password_may_not_contain_the_users_name(mina: Person, admin: Person, by: str) -> None:
    change = {"current_password": None, "new_password": f"I am {mina.user['username'].upper()}"}
    if by == "mina":
        refused = mina.call("PUT", "/v1/users/me/password", change | {"current_password": PASSWORD})
    else:
        refused = admin.call("PUT", f"/v1/users/{mina.id}/password", change)
    assert codes_of(refused) == {("/new_password", CONTAINS_NAME)}


def test_an_administrator_may_choose_a_password_with_their_own_name(mina: Person, admin: Person) -> None:
    change = {"current_password": None, "new_password": f"set by {admin.user['username']}"}
    assert admin.call("PUT", f"/v1/users/{mina.id}/password", change).status_code == 204


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("http://127.0.0.1:8000", {"tessera"}),
        ("http://localhost:8000", {"tessera"}),
        ("http://[::1]:8000", {"tessera"}),
        ("https://auth.example.com", {"tessera", "example"}),
        ("https://id.shop.co.uk", {"tessera", "shop"}),
        ("https://abc.de", {"tessera"}),
    ],
)
def test_the_service_is_called_by_its_name_and_its_domain(url: str, names: set[str]) -> None:
    assert set(identifiers.service_names(url)) == names


_NAMES = st.text("abcdefghijklmnopqrstuvwxyz\u00e9\u00df\u0436\u03c9", min_size=4, max_size=20)
_OTHERS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(max_examples=100, deadline=None)
@given(_NAMES, _OTHERS, _OTHERS, st.sampled_from([str, str.upper, str.title, str.casefold]), st.booleans())
def test_wherever_and_however_a_name_stands_in_a_password_it_is_found(
    shared_app: Flask, name: str, before: str, behind: str, spelled: Any, is_email: bool
) -> None:
    password = f"{before} {spelled(name)} {behind}"
    names = (None, f"{name}@example.com") if is_email else (name, None)
    with shared_app.app_context():
        assert identifiers.contains_name(password, *names)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["username", "email", "password"]), _OTHERS | st.none() | st.lists(_OTHERS)
    )
)
def test_no_sign_up_whatever_is_an_error_of_ours(shared_app: Flask, body: dict[str, Any]) -> None:
    sent = json.dumps(body | {"never": "known"})
    answer = client_of(shared_app).post("/v1/users", data=sent, content_type="application/json")
    assert answer.status_code == 422


# The operator's list


@pytest.mark.parametrize("line", ["{}:3\r\n", "{}:3\n", "{}\n"], ids=ascii)
def test_what_is_in_the_operators_hashes_may_not_be_chosen(
    make_app: MakeApp, tmp_path: Path, line: str
) -> None:
    path = write_hashes(tmp_path / "hashes.txt", [BREACHED, "one", "another", "a third"], line)
    client = client_of(make_app(PASSWORD_LIST=str(path)))
    assert codes_of(sign_up(client, password=BREACHED)) == {("/password", TOO_COMMON)}
    assert codes_of(sign_up(client, password="password")) == {("/password", TOO_COMMON)}
    assert sign_up(client).status_code == 201


def test_what_is_in_the_operators_words_may_not_be_chosen(make_app: MakeApp, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffour old slogan\r\nStra\u00dfe Nummer 7\r\n".encode() + b"latin \xe9\r\n")
    client = client_of(make_app(PASSWORD_LIST=str(path)))
    for password in ("Our Old Slogan", "STRASSE NUMMER 7"):
        assert codes_of(sign_up(client, password=password)) == {("/password", TOO_COMMON)}
    assert sign_up(client).status_code == 201


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 10**6), max_size=40), st.integers(0, 10**6), st.booleans())
def test_a_hash_is_found_if_it_is_there_and_only_then(
    tmp_path_factory: pytest.TempPathFactory, numbers: set[int], other: int, ends: bool
) -> None:
    path = write_hashes(tmp_path_factory.mktemp("hashes") / "list", list(map(str, numbers)))
    if not ends:
        path.write_bytes(path.read_bytes().rstrip())
    hashes = Hashes(path)
    assert all(str(number) in hashes for number in numbers)
    assert (str(other) in hashes) == (other in numbers)


def test_hashes_are_found_without_reading_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = [str(number) for number in range(50000)]
    hashes = Hashes(write_hashes(tmp_path / "list", passwords))
    sizes: list[int] = []
    pread = os.pread

    def watched(file: int, size: int, offset: int) -> bytes:
        sizes.append(size)
        return pread(file, size, offset)

    monkeypatch.setattr(os, "pread", watched)
    assert "77" in hashes
    assert "none of them" not in hashes
    assert len(sizes) <= 2 * 23  # the file has less than 2 ** 22 bytes
    assert max(sizes) <= 128


def test_a_list_that_is_replaced_does_no_harm(tmp_path: Path) -> None:
    path = write_hashes(tmp_path / "list", [BREACHED])
    hashes = Hashes(path)
    path.unlink()
    assert BREACHED in hashes


@pytest.mark.parametrize("content", [b"", b"\n", b"\x00\xff", b"A" * 39, b"no end"], ids=ascii)
def test_any_file_can_be_the_list(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list"
    path.write_bytes(content)
    assert BREACHED not in Words(path)
    assert BREACHED not in Hashes(path)


@pytest.fixture
def unusable(tmp_path: Path) -> dict[str, Path]:
    unsorted = tmp_path / "unsorted"
    lines = sorted([hash_of("a"), hash_of("b")], reverse=True)
    unsorted.write_text("".join(f"{line}:1\n" for line in lines))
    large = tmp_path / "large"
    large.write_bytes(b"word\n" * (2 << 20))
    return {"missing": tmp_path / "missing", "folder": tmp_path, "unsorted": unsorted, "large": large}


@pytest.mark.parametrize("kind", ["missing", "folder", "unsorted", "large"])
def test_a_list_that_cannot_be_used_is_refused_at_the_start(unusable: dict[str, Path], kind: str) -> None:
    folder = unusable["folder"]
    with pytest.raises(SettingsError) as refusal:
        create_app({"TESSERA_DATA_DIR": str(folder), "TESSERA_PASSWORD_LIST": str(unusable[kind])})
    assert [line.partition(":")[0] for line in refusal.value.errors] == ["TESSERA_PASSWORD_LIST"]


def test_signing_up_asks_nobody_outside(client: ContractClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, lambda *args: asked.append(args))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: asked.append(args))
    assert sign_up(client).status_code == 201
    assert sign_up(client, password="password").status_code == 422
    assert asked == []


# From the shell


@pytest.mark.parametrize("password", ["iloveyou", "mina.kim 1987"])
def test_the_shell_has_the_same_rules(tmp_path: Path, password: str) -> None:
    named = ["--username", "mina.kim", "--email", "mina.kim@example.com"]
    with databases.fresh("sqlite", tmp_path) as url:
        environ = {"TESSERA_DATA_DIR": str(tmp_path), "TESSERA_DATABASE_URL": url}
        command = ["user", "create", *named, "--password-stdin"]
        ended = tessera_here(*command, environ=environ, stdin=f"{password}\n".encode())
    assert ended.code == 1
    assert "\n  password: " in ended.errors
    assert password not in ended.all
