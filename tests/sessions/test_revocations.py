"""The feed of what ended: each ending once, in order, for as long as it is of use."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import time_machine
from flask import Flask

from api.sessions.endings import SessionsEnded
from tests.conftest import MakeApp
from tests.support.clients import PASSWORD, Person, client_of, new_person
from tests.support.watching import in_parallel, listening, session_row

FEED = "/v1/revocations"
ME = "/v1/users/me"
CURRENT = "/v1/sessions/current"
USEFUL = 900 + 2 * 30  # seconds for which a token may be taken for good elsewhere
NEW_PASSWORD = "another horse battery staple"

Entry = tuple[str | None, str, str]


def page(admin: Person, query: str = "") -> dict[str, Any]:
    answer = admin.call("GET", f"{FEED}?{query}" if query else FEED)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def feed(admin: Person, since: int = 0) -> list[Entry]:
    """Return what ended after a number: (session, user, reason)."""
    items = page(admin, f"since={since}&limit=1000")["items"]
    return [(item["session_id"], item["user_id"], item["reason"]) for item in items]


def ended(person: Person, reason: str, tokens: dict[str, Any] | None = None) -> Entry:
    """Return the entry of a person's session."""
    return (tokens or person.tokens)["session"]["id"], person.id, reason


def sign_out(person: Person) -> None:
    assert person.call("DELETE", CURRENT).status_code == 204


def test_nothing_has_ended_at_first(admin: Person) -> None:
    assert page(admin) == {"items": [], "next_since": 0, "more": False}


def test_a_user_may_not_read_the_feed(mina: Person) -> None:
    answer = mina.call("GET", FEED)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "permission_denied")
    assert 'error="insufficient_scope", scope="revocations:read"' in answer.headers["WWW-Authenticate"]


# Every way of ending

SIGN_OUTS: dict[str, Callable[[Person, Person], Any]] = {
    "here": lambda admin, mina: mina.call("DELETE", CURRENT),
    "by its id": lambda admin, mina: mina.call("DELETE", f"{ME}/sessions/{mina.tokens['session']['id']}"),
    "everywhere": lambda admin, mina: mina.call("DELETE", f"{ME}/sessions"),
    "by its refresh token": lambda admin, mina: mina.client.post(
        "/v1/sessions/sign-out", json={"refresh_token": mina.tokens["refresh_token"]}
    ),
    "by an administrator": lambda admin, mina: admin.call(
        "DELETE", f"/v1/users/{mina.id}/sessions/{mina.tokens['session']['id']}"
    ),
    "everywhere by an administrator": lambda admin, mina: admin.call(
        "DELETE", f"/v1/users/{mina.id}/sessions"
    ),
}


def test_every_way_of_signing_out_is_told(admin: Person, mina: Person) -> None:
    since = 0
    for way, sign_out_so in SIGN_OUTS.items():
        assert sign_out_so(admin, mina).status_code == 204
        assert feed(admin, since) == [ended(mina, "signed_out")], way
        since = page(admin)["next_since"]
        mina.tokens = mina.sign_in()


def test_of_signing_out_everywhere_each_session_is_told(admin: Person, mina: Person) -> None:
    others = [mina.sign_in(), mina.sign_in()]
    mina.call("DELETE", f"{ME}/sessions")
    expected = {ended(mina, "signed_out", tokens) for tokens in (mina.tokens, *others)}
    assert (len(feed(admin)), set(feed(admin))) == (3, expected)


def test_a_session_that_is_kept_is_not_told(admin: Person, mina: Person) -> None:
    other = mina.sign_in()
    mina.call("DELETE", f"{ME}/sessions?keep=current")
    assert feed(admin) == [ended(mina, "signed_out", other)]


def test_a_reuse_is_told_although_the_answer_is_a_refusal(admin: Person, mina: Person) -> None:
    first = mina.tokens["refresh_token"]
    for _ in range(2):
        mina.tokens = mina.refresh().get_json()
    assert mina.refresh(first).status_code == 401
    assert feed(admin) == [ended(mina, "refresh_token_reused")]


def test_a_changed_password_is_told_for_the_sessions_that_it_ended(admin: Person, mina: Person) -> None:
    other = mina.sign_in()
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert mina.call("PUT", f"{ME}/password", body).status_code == 204
    assert feed(admin) == [ended(mina, "password_changed", other)]


def test_a_deleted_user_is_told_with_the_sessions_and_once_alone(admin: Person, mina: Person) -> None:
    other = mina.sign_in()
    assert mina.call("DELETE", ME).status_code == 204
    found = feed(admin)
    assert set(found[:2]) == {ended(mina, "user_deleted"), ended(mina, "user_deleted", other)}
    assert found[2:] == [(None, mina.id, "user_deleted")]


def test_a_deleted_user_without_a_session_is_told(admin: Person, mina: Person) -> None:
    sign_out(mina)
    admin.call("DELETE", f"/v1/users/{mina.id}")
    assert feed(admin)[1:] == [(None, mina.id, "user_deleted")]


def test_a_session_that_had_to_give_way_is_told(make_app: MakeApp, admin: Person) -> None:
    person = new_person(make_app(SESSIONS_PER_USER="1"))
    person.sign_in()
    assert feed(admin) == [ended(person, "evicted")]


# What is not told


def test_what_has_ended_does_not_end_again(admin: Person, mina: Person) -> None:
    body = {"refresh_token": mina.tokens["refresh_token"]}
    for _ in range(3):
        assert mina.client.post("/v1/sessions/sign-out", json=body).status_code == 204
    mina.refresh()
    admin.call("DELETE", f"/v1/users/{mina.id}/sessions")
    assert feed(admin) == [ended(mina, "signed_out")]


def test_of_parallel_endings_one_is_told(app: Flask, admin: Person, mina: Person) -> None:
    in_parallel(4, lambda _: client_of(app).delete(CURRENT, headers=mina.bearer).status_code)
    assert feed(admin) == [ended(mina, "signed_out")]


def test_a_refused_request_tells_nothing(admin: Person, mina: Person, ken: Person) -> None:
    wrong = {"current_password": "not the password", "new_password": NEW_PASSWORD}
    statuses = [
        mina.call("DELETE", ME, If_Match='"0"').status_code,
        mina.call("PUT", f"{ME}/password", wrong).status_code,
        mina.call("DELETE", f"{ME}/sessions?keep=all").status_code,
        mina.call("DELETE", f"{ME}/sessions/{ken.tokens['session']['id']}").status_code,
        mina.client.post("/v1/sessions/sign-out", json={"refresh_token": "forged"}).status_code,
        mina.refresh("forged").status_code,
    ]
    assert statuses == [412, 403, 422, 404, 401, 401]
    assert feed(admin) == []


def test_a_use_within_the_overlap_tells_nothing(admin: Person, mina: Person) -> None:
    first = mina.tokens["refresh_token"]
    for _ in range(2):
        assert mina.refresh(first).status_code == 200
    assert feed(admin) == []


def test_an_ending_that_is_undone_is_not_told(app: Flask, admin: Person, mina: Person) -> None:
    def fail(_: SessionsEnded) -> None:
        raise RuntimeError("a listener that fails")

    with listening(app, (SessionsEnded, fail)):
        assert app.test_client().delete(CURRENT, headers=mina.bearer).status_code == 500
    assert feed(admin) == []
    assert session_row(app, mina.tokens["session"]["id"]).ended_at is None


def test_a_session_that_expires_is_not_told(
    admin: Person, mina: Person, clock: time_machine.Traveller
) -> None:
    clock.shift(31 * 86400)
    mina.refresh()
    admin.tokens = admin.sign_in()
    assert feed(admin) == []


# Order and pages


def _three_endings(admin: Person, mina: Person) -> list[Entry]:
    """End three sessions, one after the other."""
    endings = [ended(mina, "signed_out", mina.sign_in()) for _ in range(3)]
    for session_id, _, _ in endings:
        mina.call("DELETE", f"{ME}/sessions/{session_id}")
    return endings


def test_endings_come_in_their_order(admin: Person, mina: Person) -> None:
    expected = _three_endings(admin, mina)
    assert feed(admin) == expected


def test_pages_follow_one_another_and_miss_nothing(admin: Person, mina: Person) -> None:
    expected = _three_endings(admin, mina)
    pages, since = [], 0
    for _ in range(3):
        found = page(admin, f"since={since}&limit=1")
        assert found["next_since"] > since
        pages.append((found["items"][0]["session_id"], found["more"]))
        since = found["next_since"]
    assert pages == [(expected[0][0], True), (expected[1][0], True), (expected[2][0], False)]


def test_a_full_page_that_is_the_last_says_so(admin: Person, mina: Person) -> None:
    _three_endings(admin, mina)
    assert [page(admin, f"limit={limit}")["more"] for limit in (2, 3, 4)] == [True, False, False]


def test_after_the_last_one_there_is_nothing_until_the_next(admin: Person, mina: Person) -> None:
    _three_endings(admin, mina)
    since = page(admin)["next_since"]
    assert page(admin, f"since={since}") == {"items": [], "next_since": since, "more": False}
    sign_out(mina)
    assert feed(admin, since) == [ended(mina, "signed_out")]


def test_a_number_that_is_not_yet_reached_gives_nothing(admin: Person, mina: Person) -> None:
    sign_out(mina)
    most = 10**18 - 1
    assert page(admin, f"since={most}") == {"items": [], "next_since": most, "more": False}


def test_an_unfit_parameter_is_refused(admin: Person) -> None:
    unfit = {
        "since": ("-1", "", "x", "1.0", "1e3", "+1", str(10**18), "9" * 30, "null"),
        "limit": ("0", "-1", "1001", "", "x", "1.5"),
    }
    for name, values in unfit.items():
        for value in values:
            refused = admin.call("GET", f"{FEED}?{name}={value}")
            assert refused.status_code == 422
            assert [error["parameter"] for error in refused.get_json()["errors"]] == [name], value


# How long an entry is of use


def test_an_entry_says_when_it_happened_and_when_it_is_of_no_use(
    admin: Person, mina: Person, clock: time_machine.Traveller
) -> None:
    now = _now()
    sign_out(mina)
    [item] = page(admin)["items"]
    assert item["ended_at"] == _text(now)
    assert item["forget_at"] == _text(now + timedelta(seconds=USEFUL))


def test_an_entry_is_of_use_as_long_as_the_settings_say(
    make_app: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_app(ACCESS_TOKEN_SECONDS="60", CLOCK_SKEW_SECONDS="5")
    admin = new_person(app, admin=True)
    sign_out(new_person(app))
    assert page(admin)["items"][0]["forget_at"] == _text(_now() + timedelta(seconds=70))


def test_an_entry_goes_with_the_first_ending_after_its_use(
    admin: Person, mina: Person, ken: Person, clock: time_machine.Traveller
) -> None:
    sign_out(mina)
    clock.shift(USEFUL)
    admin.tokens, ken.tokens = admin.sign_in(), ken.sign_in()
    _end_one(ken)
    assert feed(admin)[0] == ended(mina, "signed_out")
    clock.shift(1)
    _end_one(ken)
    assert len(feed(admin)) == 2
    assert ended(mina, "signed_out") not in feed(admin)


def _end_one(person: Person) -> None:
    sign_out(Person(person.client, person.user, person.sign_in()))


def test_no_number_is_used_again_once_every_entry_is_gone(
    admin: Person, mina: Person, ken: Person, clock: time_machine.Traveller
) -> None:
    sign_out(mina)
    since = page(admin)["next_since"]
    clock.shift(USEFUL + 1)
    admin.tokens, ken.tokens = admin.sign_in(), ken.sign_in()
    sign_out(ken)
    assert feed(admin) == feed(admin, since) == [ended(ken, "signed_out")]


def test_an_entry_holds_no_part_of_a_token(admin: Person, mina: Person) -> None:
    sign_out(mina)
    answer = admin.call("GET", FEED)
    assert answer.get_json()["items"][0].keys() == {
        "session_id",
        "user_id",
        "reason",
        "ended_at",
        "forget_at",
    }
    assert answer.headers["Cache-Control"] == "no-store"


def _now() -> datetime:
    return datetime.now(UTC)


def _text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
