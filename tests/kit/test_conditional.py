"""Conditional requests: a state that the client has is not sent again, one it has not seen is not changed."""

import re
from threading import Barrier, Thread
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.support import databases
from tests.support.clients import ContractClient, Person, client_of, contract_of

pytestmark = databases.ON_SQLITE

ME = "/v1/users/me"


def _tag(person: Person) -> str:
    return person.call("GET", ME).headers["ETag"]


def _code(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.get_json(force=True)["code"]


# ETag


def test_a_user_has_a_strong_entity_tag(mina: Person) -> None:
    tag = _tag(mina)
    assert tag.startswith('"')
    assert tag.endswith('"')
    assert len(tag) > 2


def test_the_tag_is_the_same_by_id_and_by_me(mina: Person) -> None:
    assert mina.call("GET", f"/v1/users/{mina.id}").headers["ETag"] == _tag(mina)


def test_the_tag_changes_with_the_user_and_is_told_by_the_change(mina: Person) -> None:
    before = _tag(mina)
    changed = mina.call("PATCH", ME, {"display_name": "Mina"}).headers["ETag"]
    assert changed != before
    assert changed == _tag(mina)


def test_a_change_that_changes_nothing_leaves_the_tag(mina: Person) -> None:
    first = mina.call("PATCH", ME, {"display_name": "Mina"})
    second = mina.call("PATCH", ME, {"display_name": "Mina"})
    assert second.headers["ETag"] == first.headers["ETag"]
    assert second.get_json()["updated_at"] == first.get_json()["updated_at"]


def test_the_tag_does_not_come_back_with_an_earlier_value(mina: Person) -> None:
    tags = [mina.call("PATCH", ME, {"display_name": name}).headers["ETag"] for name in ("A", "B", "A")]
    assert len({_tag(mina), *tags}) == 3


def test_signing_in_leaves_the_tag(mina: Person) -> None:
    before = _tag(mina)
    mina.sign_in()
    assert _tag(mina) == before


def test_refreshing_leaves_the_tag(mina: Person) -> None:
    before = _tag(mina)
    assert mina.refresh().status_code == 200
    assert _tag(mina) == before


# If-None-Match

LISTS = ["{}", "W/{}", "*", '"x", {}', '{}, "x"', 'W/"x" ,W/{}', ' , "x",, {} ,', " * "]


@pytest.mark.parametrize("form", LISTS)
def test_the_state_that_the_client_has_is_not_sent_again(mina: Person, form: str) -> None:
    tag = _tag(mina)
    response = mina.call("GET", ME, If_None_Match=form.format(tag))
    assert (response.status_code, response.data) == (304, b"")
    assert response.headers["ETag"] == tag


@pytest.mark.parametrize("form", ['"x"', 'W/"x"', '"x", "y"', '""', '"*"'])
def test_another_state_is_sent(mina: Person, form: str) -> None:
    response = mina.call("GET", ME, If_None_Match=form)
    assert response.status_code == 200
    assert response.get_json()["id"] == mina.id


def test_a_state_that_has_changed_is_sent(mina: Person) -> None:
    before = _tag(mina)
    mina.call("PATCH", ME, {"display_name": "Mina"})
    assert mina.call("GET", ME, If_None_Match=before).get_json()["display_name"] == "Mina"


def test_head_knows_the_state_that_the_client_has(mina: Person) -> None:
    tag = _tag(mina)
    response = mina.call("HEAD", ME, If_None_Match=tag)
    assert (response.status_code, response.data, response.headers["ETag"]) == (304, b"", tag)


def test_an_answer_without_a_body_describes_none(mina: Person) -> None:
    response = mina.call("GET", ME, If_None_Match="*")
    assert not {"Content-Type", "Content-Length"} & set(dict(response.headers))
    assert response.headers["Cache-Control"] == "no-store"


def test_the_tag_of_one_user_is_none_of_another(mina: Person, ken: Person) -> None:
    response = ken.call("GET", ME, If_None_Match=_tag(mina))
    assert response.status_code == 200
    assert response.get_json()["id"] == ken.id


def test_the_state_of_one_user_is_no_precondition_of_another(mina: Person, ken: Person) -> None:
    response = ken.call("PATCH", ME, {"display_name": "Ken"}, If_Match=_tag(mina))
    assert _code(response) == (412, "precondition_failed")


def test_knowing_a_tag_is_no_way_in(mina: Person, client: ContractClient) -> None:
    response = client.get(f"/v1/users/{mina.id}", headers={"If-None-Match": _tag(mina)})
    assert response.status_code == 401


# If-Match


@pytest.mark.parametrize("form", ["{}", "*", '"x", {}', '{} , "x"', '{},W/"x"', ', "x",, {} ,', " * "])
def test_the_state_that_the_client_has_seen_is_changed(mina: Person, form: str) -> None:
    response = mina.call("PATCH", ME, {"display_name": "Mina"}, If_Match=form.format(_tag(mina)))
    assert response.status_code == 200
    assert response.get_json()["display_name"] == "Mina"


@pytest.mark.parametrize("form", ["W/{}", '"x"', 'W/"x"', '""', '"x", W/{}', '"*"', '"x-{}"'])
def test_a_state_that_the_client_has_not_seen_is_not_changed(mina: Person, form: str) -> None:
    before = mina.call("GET", ME)
    tag = form.format(before.headers["ETag"]) if form != '"x-{}"' else f'"x-{before.headers["ETag"][1:-1]}"'
    response = mina.call("PATCH", ME, {"display_name": "Mina", "metadata": {"a": 1}}, If_Match=tag)
    after = mina.call("GET", ME)
    assert _code(response) == (412, "precondition_failed")
    assert (after.get_json(), after.headers["ETag"]) == (before.get_json(), before.headers["ETag"])


def test_a_stale_tag_changes_nothing(mina: Person) -> None:
    stale = _tag(mina)
    mina.call("PATCH", ME, {"display_name": "First"})
    response = mina.call("PATCH", ME, {"display_name": "Second"}, If_Match=stale)
    assert _code(response) == (412, "precondition_failed")
    assert mina.call("GET", ME).get_json()["display_name"] == "First"


def test_a_stale_tag_is_refused_even_when_nothing_would_change(mina: Person) -> None:
    assert _code(mina.call("PATCH", ME, {}, If_Match='"stale"')) == (412, "precondition_failed")


def test_a_stale_tag_deletes_nobody(mina: Person) -> None:
    stale = _tag(mina)
    mina.call("PATCH", ME, {"display_name": "Mina"})
    assert _code(mina.call("DELETE", ME, If_Match=stale)) == (412, "precondition_failed")
    assert mina.call("GET", ME).get_json()["status"] == "active"


def test_the_tag_of_today_deletes(mina: Person) -> None:
    assert mina.call("DELETE", ME, If_Match=_tag(mina)).status_code == 204


def test_an_unfit_body_with_a_stale_tag_changes_nothing(mina: Person) -> None:
    response = mina.call("PATCH", ME, {"display_name": 1}, If_Match='"stale"')
    assert response.status_code in (412, 422)


# Malformed

MALFORMED = [
    "",
    " ",
    ",",
    "1",
    "abc",
    '"',
    '"a',
    'a"',
    '"a" "b"',
    '"a", b',
    'w/"a"',
    'W"a"',
    'W/ "a"',
    'W/"a',
    "W/*",
    "**",
    '*, "a"',
    '"a", *',
    "'a'",
    '"a b"',
    '"a\tb"',
    '"a\x7f"',
    '"a"; "b"',
    '"a""b"',
    '"\xe9"',
    f'"{"a" * 1023}"',
]


@pytest.mark.parametrize(("method", "name"), [("get", "If-None-Match"), ("patch", "If-Match")])
def test_the_contract_says_which_headers_are_well_formed(app: Flask, method: str, name: str) -> None:
    operation = contract_of(app).document["paths"]["/v1/users/{user_id}"][method]
    [schema] = [parameter["schema"] for parameter in operation["parameters"] if parameter["name"] == name]
    is_fit = [len(text) <= schema["maxLength"] and re.search(schema["pattern"], text) for text in MALFORMED]
    assert not any(is_fit)
    assert all(re.search(schema["pattern"], form.format('"a-1"')) for form in LISTS)


def test_a_malformed_if_match_is_refused(mina: Person) -> None:
    for tag in MALFORMED:
        overrides = {"HTTP_IF_MATCH": tag}
        body = {"display_name": "Mina"}
        response = mina.client.patch(ME, json=body, headers=mina.bearer, environ_overrides=overrides)
        assert _code(response) == (400, "malformed_request"), repr(tag)
    assert mina.call("GET", ME).get_json()["display_name"] is None


def test_a_malformed_if_none_match_is_refused(mina: Person) -> None:
    for tag in MALFORMED:
        overrides = {"HTTP_IF_NONE_MATCH": tag}
        response = mina.client.get(ME, headers=mina.bearer, environ_overrides=overrides)
        assert _code(response) == (400, "malformed_request"), repr(tag)


def test_a_long_malformed_list_is_refused_like_a_short_one(mina: Person) -> None:
    endings = (
        '"a"' + " " * 16000,
        ", " * 8000,
        '"a",' * 4000,
        '"a"' + " ," * 8000,
        "W/" * 8000,
        '"a" , ' * 2600,
    )
    for start in endings:
        response = mina.call("GET", ME, If_None_Match=f"{start}x")
        assert _code(response) == (400, "malformed_request"), start[:10]


# Races


def test_of_two_parallel_changes_of_one_state_one_is_made(app: Flask, mina: Person) -> None:
    for number in range(5):
        patches = [{"display_name": f"{name} {number}"} for name in "AB"]
        answers = _in_parallel(app, mina, patches, _tag(mina))
        assert sorted(answer.status_code for answer in answers) == [200, 412]
        [made] = [answer.get_json() for answer in answers if answer.status_code == 200]
        assert mina.call("GET", ME).get_json()["display_name"] == made["display_name"]


def test_parallel_changes_without_a_condition_are_all_made(app: Flask, mina: Person) -> None:
    patches = [{"metadata": {f"key_{number}": number}} for number in range(8)]
    answers = _in_parallel(app, mina, patches, None)
    assert [answer.status_code for answer in answers] == [200] * 8
    assert mina.call("GET", ME).get_json()["metadata"] == {f"key_{n}": n for n in range(8)}


def _in_parallel(app: Flask, person: Person, patches: list[Any], tag: str | None) -> list[TestResponse]:
    """Send patches at the same moment, each from a client of its own."""
    barrier, answers = Barrier(len(patches)), []
    headers = {} if tag is None else {"If-Match": tag}

    def send(client: ContractClient, patch: Any) -> None:
        barrier.wait()
        answers.append(client.patch(ME, json=patch, headers=person.bearer | headers))

    threads = [Thread(target=send, args=(client_of(app), patch)) for patch in patches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(patches)
    return answers


# Every resource


_NO_RESOURCES = {
    "createSession",  # tokens
    "refreshSession",
    "reauthenticateSession",
    "exportUser",  # made anew each time
    "getLiveness",
    "getReadiness",
}


def test_every_single_resource_has_a_tag_wherever_it_is_answered(app: Flask) -> None:
    document = contract_of(app).document
    found = {
        described["operationId"]
        for item in document["paths"].values()
        for described in item.values()
        for status, answer in described["responses"].items()
        if status < "300" and "ETag" not in answer.get("headers", {}) and _is_single(answer, document)
    }
    assert found == _NO_RESOURCES


def _is_single(answer: dict[str, Any], document: dict[str, Any]) -> bool:
    name = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    schema = document["components"]["schemas"].get(name.rpartition("/")[2])
    return schema is not None and "items" not in schema["properties"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/config",
        "/openapi.json",
        "/openapi.yaml",
        "/problems",
        "/problems/not_found",
        "/.well-known/oauth-authorization-server",
    ],
)
def test_what_seldom_changes_need_not_be_sent_again(client: ContractClient, path: str) -> None:
    tag = client.get(path).headers["ETag"]
    again = client.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")


def test_a_problem_has_another_tag_in_another_language(client: ContractClient) -> None:
    path = "/problems/not_found"
    tags = {client.get(path, headers={"Accept-Language": tag}).headers["ETag"] for tag in ("en", "ko")}
    assert len(tags) == 2
