"""Refusals in the language of their reader: which one is chosen, and all that is said in it."""

import json
from pathlib import Path
from typing import Any, NoReturn

import pytest
from babel.messages import Catalog
from babel.messages.mofile import write_mo
from flask import Flask
from werkzeug.test import TestResponse

from api.kit.languages import ENGLISH, OWN, Languages
from schemas.messages import Phrase
from tests.conftest import MakeApp
from tests.kit.conftest import MakeOffline
from tests.support import databases
from tests.support.clients import ContractClient, Person, client_of

pytestmark = databases.ON_SQLITE

NOTHING_HERE = {"en": "There is nothing here", "ko": "찾을 수 없습니다"}


def is_korean(text: str) -> bool:
    return any("가" <= character <= "힣" for character in text)


def refusal(client: ContractClient, wanted: str | None, path: str = "/nowhere") -> TestResponse:
    return client.get(path, headers={} if wanted is None else {"Accept-Language": wanted})


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("*", "en"),
        ("en", "en"),
        ("en-GB", "en"),
        ("fr", "en"),
        ("ko", "ko"),
        ("KO", "ko"),
        ("ko-KR", "ko"),
        ("ko-Kore-KR", "ko"),
        ("ko_KR", "en"),
        ("kok", "en"),
        ("fr, ko;q=0.5", "ko"),
        ("ko, en;q=0.9", "ko"),
        ("ko-KR,en;q=0.9", "ko"),
        ("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", "ko"),
        ("en-US,ko;q=0.9", "en"),
        ("en;q=0.2, ko;q=0.8", "ko"),
        ("ko;q=0", "en"),
        ("ko;q=0, fr", "en"),
        ("*, ko;q=0.1", "ko"),
        ("ko;q=nonsense", "en"),
        (";;,,;q=", "en"),
        ("../../ko", "en"),
        ("ko-" * 11 + "ko", "ko"),
        ("x-" * 400 + "ko", "en"),
        ("ko," * 5000, "en"),
    ],
)
def test_the_best_language_is_chosen(offline: ContractClient, wanted: str | None, language: str) -> None:
    answer = refusal(offline, wanted)
    assert answer.headers["Content-Language"] == language
    assert answer.get_json(force=True)["title"] == NOTHING_HERE[language]


def test_caches_keep_the_languages_apart(offline: ContractClient) -> None:
    assert refusal(offline, None).headers["Vary"] == "Accept-Language"
    meaning = offline.get("/problems/not_found")
    assert "public" in meaning.headers["Cache-Control"]
    assert meaning.headers["Vary"] == "Accept-Language"


def test_with_pages_of_other_origins_answers_vary_by_both(make_offline: MakeOffline) -> None:
    answer = refusal(client_of(make_offline(CORS_ORIGINS="https://app.example.com")), "ko")
    assert set(answer.vary) == {"Accept-Language", "Origin"}


def test_what_is_no_text_does_not_depend_on_the_language(offline: ContractClient) -> None:
    answer = offline.get("/v1/config", headers={"Accept-Language": "ko"})
    assert "Content-Language" not in answer.headers
    assert "Accept-Language" not in answer.vary


def test_programs_read_the_same_in_every_language(offline: ContractClient) -> None:
    asked: dict[str, Any] = {"json": {"username": 1, "nickname": "x"}}
    english, korean = (
        offline.post("/v1/users", headers={"Accept-Language": language}, **asked).get_json(force=True)
        for language in ("en", "ko")
    )
    for name in ("type", "status", "code"):
        assert english[name] == korean[name]
    assert [(e["pointer"], e["code"]) for e in english["errors"]] == [
        (e["pointer"], e["code"]) for e in korean["errors"]
    ]


def test_every_error_is_in_the_language(offline: ContractClient) -> None:
    sent = {"username": 1, "email": None, "password": "x" * 2000, "nickname": "x"}
    answer = offline.post("/v1/users?a=1&a=2", json=sent, headers={"Accept-Language": "ko"})
    again = offline.post("/v1/users", json=sent, headers={"Accept-Language": "ko"})
    for problem in (answer.get_json(force=True), again.get_json(force=True)):
        assert is_korean(problem["title"]) and is_korean(problem["detail"])
        assert problem["errors"]
        assert [e["detail"] for e in problem["errors"] if not is_korean(e["detail"])] == []


def test_values_are_said_in_the_language(client: ContractClient) -> None:
    sent = {"username": "mina", "email": "mina@example.com", "password": "가" * 400}
    answer = client.post("/v1/users", json=sent, headers={"Accept-Language": "ko"})
    [error] = answer.get_json(force=True)["errors"]
    assert (error["code"], error["detail"]) == ("too_long", "1024바이트 이하여야 합니다.")


def test_bounds_of_a_schema_are_said_in_the_language(mina: Person) -> None:
    answer = mina.call("PATCH", "/v1/users/me", {"display_name": "x" * 5000}, Accept_Language="ko")
    [error] = answer.get_json(force=True)["errors"]
    assert error["code"] == "too_long"
    assert error["detail"].startswith("길이가 ") and error["detail"].endswith(" 이하여야 합니다.")


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("GET", "/v1/users/me", {}, 401),
        ("PUT", "/v1/config", {}, 405),
        ("GET", "/v1/config", {"headers": {"Accept": "text/html"}}, 406),
        ("POST", "/v1/users", {"data": b"x"}, 415),
        ("POST", "/v1/users", {"data": b" " * 70000, "content_type": "application/json"}, 413),
        ("POST", "/v1/users", {"data": b"[" * 40, "content_type": "application/json"}, 400),
        ("GET", "/v1/config", {"headers": {"Host": "a b"}}, 400),
        ("GET", "/health/ready", {}, 503),
        ("POST", "/v1/password-resets/confirm", {"json": {"token": "x", "new_password": "y" * 9}}, 503),
    ],
)
def test_every_layer_refuses_in_the_language(
    offline: ContractClient, method: str, path: str, sent: dict[str, Any], status: int
) -> None:
    headers = {"Accept-Language": "ko", **sent.get("headers", {})}
    answer = offline.open(path, method=method, **{**sent, "headers": headers})
    assert (answer.status_code, answer.headers["Content-Language"]) == (status, "ko")
    problem = answer.get_json(force=True)
    assert is_korean(problem["title"]) and is_korean(problem["detail"])


def test_a_failure_is_told_in_the_language(make_offline: MakeOffline) -> None:
    app = make_offline()
    app.view_functions["about.Root"] = _fail
    answer = app.test_client().get("/", headers={"Accept-Language": "ko"})
    assert answer.status_code == 500
    assert is_korean(answer.get_json(force=True)["title"])


def _fail() -> NoReturn:
    raise RuntimeError("on purpose")


def test_every_kind_of_problem_is_described_in_the_language(shared_app: Flask) -> None:
    client = client_of(shared_app)
    for code in shared_app.extensions["tessera"].problems:
        meaning = refusal(client, "ko", f"/problems/{code}")
        assert meaning.headers["Content-Language"] == "ko"
        texts = meaning.get_json()
        assert texts["code"] == code
        assert [n for n in ("title", "detail", "remedy") if not is_korean(texts[n])] == [], code


def test_the_contract_is_in_english(make_app: MakeApp) -> None:
    document = client_of(make_app()).get("/openapi.json", headers={"Accept-Language": "ko"})
    assert not is_korean(json.dumps(document.get_json(), ensure_ascii=False))


def test_what_nobody_translated_stays_english() -> None:
    assert Languages(OWN).speak("ko")("Nobody has translated this.") == "Nobody has translated this."
    assert Languages(OWN).speak(ENGLISH)("Is missing.") == "Is missing."


def folder_of(path: Path, language: str, **translations: str) -> Path:
    """Return a folder with a catalogue of a feature from outside, by Babel."""
    catalogue = Catalog(language)
    for text, translation in translations.items():
        catalogue.add(text, translation)
    file = path / language / "LC_MESSAGES" / "messages.mo"
    file.parent.mkdir(parents=True)
    with file.open("wb") as content:
        write_mo(content, catalogue)
    return path


def test_a_feature_brings_texts_in_the_languages_that_there_are(tmp_path: Path) -> None:
    korean = folder_of(tmp_path / "a", "ko", Hello="안녕하세요")
    german = folder_of(tmp_path / "b", "de", Hello="Hallo")
    joined = Languages(OWN, [korean, german])
    assert joined.speak("ko")("Hello") == "안녕하세요"
    assert joined.speak("ko")("Is missing.") == "필수 항목입니다."
    assert joined.choose("de, ko;q=0.1") == "ko"


@pytest.mark.parametrize("template", ["{other}", "{", "{0}", "{count.real.nothing}", "{count!x}"])
def test_a_translation_that_does_not_fit_is_not_used(tmp_path: Path, template: str) -> None:
    joined = Languages(OWN, [folder_of(tmp_path, "ko", **{"{count} left.": template})])
    assert joined.speak("ko")(Phrase("{count} left.", count=3)) == "3 left."
