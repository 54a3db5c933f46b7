"""Limits of requests: what is counted together, what answers tell, and what Redis may do to it."""

import re
import secrets
import socket
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import pytest
import time_machine
from redis import Redis
from werkzeug.test import TestResponse

from api.kit import clock, limits
from api.kit.config import REQUEST_LIMIT
from api.kit.limits import Here, InRedis, Policy
from api.kit.settings import Limit, Settings, SettingsError
from tests import services
from tests.conftest import MakeApp
from tests.kit.conftest import MakeOffline
from tests.kit.test_every_operation import operations
from tests.support.clients import ContractClient, client_of, contract_of
from tests.support.commands import tessera_here
from tests.support.waiting import DEADLINE
from tests.support.watching import in_parallel

REDIS = services.REDIS.url()
needs_redis = pytest.mark.needs("Redis")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
UNLIMITED = {"getLiveness", "getReadiness", "getKeySet"}


def ask(client: ContractClient, address: str = "192.0.2.1", **environ: str) -> TestResponse:
    return client.get("/v1/config", environ_overrides={"REMOTE_ADDR": address, **environ})


def statuses(client: ContractClient, times: int, address: str = "192.0.2.1") -> list[int]:
    return [ask(client, address).status_code for _ in range(times)]


@pytest.fixture
def noon() -> Iterator[time_machine.Traveller]:
    """A clock that stands at the beginning of a window."""
    with time_machine.travel(NOON, tick=False) as clock:
        yield clock


@pytest.fixture
def limited(make_offline: MakeOffline, noon: object) -> ContractClient:
    """Somebody at a service that lets each address ask three times a minute."""
    return client_of(make_offline(LIMITS="on", REQUEST_LIMIT="3 per minute"))


def test_requests_beyond_the_limit_are_refused(limited: ContractClient) -> None:
    assert statuses(limited, 5) == [200, 200, 200, 429, 429]


def test_another_address_is_counted_by_itself(limited: ContractClient) -> None:
    statuses(limited, 4)
    assert statuses(limited, 1, "192.0.2.2") == [200]


def test_addresses_of_one_ipv6_network_are_counted_together(limited: ContractClient) -> None:
    found = [ask(limited, f"2001:db8::{number}").status_code for number in range(4)]
    assert found == [200, 200, 200, 429]
    assert ask(limited, "2001:db8:0:1::1").status_code == 200


def test_requests_without_an_address_are_limited(limited: ContractClient) -> None:
    assert statuses(limited, 4, "") == [200, 200, 200, 429]


def test_a_forged_forwarding_header_is_no_way_around(limited: ContractClient) -> None:
    found = [ask(limited, HTTP_X_FORWARDED_FOR=f"198.51.100.{n}").status_code for n in range(4)]
    assert found == [200, 200, 200, 429]


def test_clients_behind_a_trusted_proxy_are_told_apart(make_offline: MakeOffline) -> None:
    app = make_offline(LIMITS="on", REQUEST_LIMIT="1 per hour", TRUSTED_PROXIES="192.0.2.0/24")
    found = [ask(client_of(app), HTTP_X_FORWARDED_FOR=f"198.51.100.{n}").status_code for n in (1, 2, 1)]
    assert found == [200, 200, 429]


def test_answers_tell_what_is_left(limited: ContractClient, noon: time_machine.Traveller) -> None:
    noon.shift(15)
    answer = ask(limited)
    assert answer.headers["RateLimit-Policy"] == '"request";q=3;w=60'
    assert answer.headers["RateLimit"] == '"request";r=2;t=45'


def test_a_refusal_is_a_problem_that_says_how_long(limited: ContractClient) -> None:
    statuses(limited, 3)
    answer = ask(limited)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.get_json()["code"] == "too_many_requests"
    assert answer.headers["Retry-After"] == "60"
    assert answer.headers["RateLimit"] == '"request";r=0;t=60'


def test_waiting_as_long_as_told_works(limited: ContractClient, noon: time_machine.Traveller) -> None:
    noon.shift(59.5)
    statuses(limited, 3)
    refused = ask(limited)
    assert refused.headers["Retry-After"] == "1"
    noon.shift(int(refused.headers["Retry-After"]))
    assert ask(limited).status_code == 200


def test_other_refusals_count_and_tell_as_well(limited: ContractClient) -> None:
    answer = limited.get("/v1/users/me")
    assert answer.status_code == 401
    assert answer.headers["RateLimit"].startswith('"request";r=2;')


def test_operations_with_limits_of_their_own_are_counted_apart(make_offline: MakeOffline) -> None:
    client = client_of(make_offline(LIMITS="on", REQUEST_LIMIT="1 per hour", SIGN_UP_LIMIT="1 per hour"))
    assert client.get("/v1/config").status_code == 200
    assert [client.post("/v1/users", json={}).status_code for _ in range(2)] == [422, 429]
    assert client.get("/v1/config").status_code == 429


def test_every_operation_but_health_and_keys_is_limited(make_app: MakeApp, noon: object) -> None:
    once = dict.fromkeys(("REQUEST_LIMIT", "SIGN_UP_LIMIT", "PASSWORD_LIMIT"), "1 per hour")
    app = make_app(LIMITS="on", REFRESH_LIMIT="1 per hour", **once)
    client = client_of(app)
    for op in operations(app):
        answers = [client.open(op.path(), method=op.method) for _ in range(2)]
        assert (answers[1].status_code == 429) == (429 in op.statuses) == (op.id not in UNLIMITED), op.id
        if op.id not in UNLIMITED:
            assert answers[1].headers["Retry-After"]
            assert re.fullmatch(r'"[a-z-]+";r=0;t=\d+', answers[1].headers["RateLimit"])
        else:
            assert "RateLimit" not in answers[1].headers


def test_nothing_is_limited_when_limits_are_off(make_offline: MakeOffline) -> None:
    client = client_of(make_offline(LIMITS="off", REQUEST_LIMIT="1 per hour"))
    assert statuses(client, 3) == [200, 200, 200]
    assert "RateLimit" not in ask(client).headers


def test_no_count_is_lost_among_threads(make_offline: MakeOffline) -> None:
    app = make_offline(LIMITS="on", REQUEST_LIMIT="100 per day")
    contract_of(app)  # is made once, not by 16 threads at once
    found = in_parallel(16, lambda _: statuses(client_of(app), 10))
    assert Counter(status for some in found for status in some) == {200: 100, 429: 60}


def test_windows_that_have_passed_are_forgotten() -> None:
    here, policy = Here(), Policy("request", Limit(1, 60))
    for number in range(100):
        here.add(policy, 1, str(number))
    assert here.add(policy, 2, "0") == 1
    assert here._windows == {"request": (2, {"0": 1})}


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("20 per minute", Limit(20, 60)),
        ("10 per 15 minutes", Limit(10, 900)),
        ("1 per 36 hours", Limit(1, 129600)),
        ("5 per 1 second", Limit(5, 1)),
    ],
)
def test_a_limit_is_written_as_it_is_said(text: str, limit: Limit) -> None:
    settings = Settings([REQUEST_LIMIT], {"TESSERA_REQUEST_LIMIT": text})
    assert settings[REQUEST_LIMIT] == limit
    assert REQUEST_LIMIT.read(str(limit)) == limit


@pytest.mark.parametrize("text", ["20", "0 per minute", "20 per 0 minutes", "20/minute", "-1 per hour", "x"])
def test_what_is_no_limit_is_refused_at_start(text: str) -> None:
    with pytest.raises(SettingsError, match="must be a limit"):
        Settings([REQUEST_LIMIT], {"TESSERA_REQUEST_LIMIT": text})


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """A Redis that the service waits for, however busy the machine is."""
    monkeypatch.setattr(limits, "WAIT_SECONDS", DEADLINE)
    found: Redis = Redis.from_url(REDIS, socket_timeout=DEADLINE)
    yield found
    for key in found.scan_iter(match="tessera:limits:*"):
        found.delete(key)
    found.close()


@pytest.fixture
def policy() -> Policy:
    """A policy that no other test counts by."""
    return Policy(f"test-{secrets.token_hex(4)}", Limit(3, 60))


@needs_redis
def test_two_processes_share_their_limits_by_redis(make_offline: MakeOffline, redis: Redis) -> None:
    address = f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}::1"
    made = [make_offline(LIMITS="on", REQUEST_LIMIT="4 per day", REDIS_URL=REDIS) for _ in range(2)]
    one, other = map(client_of, made)
    found = [statuses(client, 1, address)[0] for client in (one, other) * 3]
    assert found == [200, 200, 200, 200, 429, 429]


@needs_redis
def test_what_redis_counted_it_forgets(redis: Redis, policy: Policy) -> None:
    InRedis(REDIS).add(policy, 1, "192.0.2.1")
    [key] = redis.scan_iter(match=f"*{policy.name}*")
    assert 55 <= int(redis.ttl(key)) <= 60


class Hanging:
    """A listener that takes connections and never says a word."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/9"


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.socket.close()


def gone_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"redis://127.0.0.1:{probe.getsockname()[1]}/9"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows with each request that asks Redis; after a failure none asks again."""
    monkeypatch.setattr(limits, "REST_SECONDS", 10 * DEADLINE)
    found: list[str] = []
    everywhere = InRedis._everywhere

    def ask_redis(counter: InRedis, policy: Policy, window: int, network: str) -> int:
        found.append(network)
        return everywhere(counter, policy, window, network)

    monkeypatch.setattr(InRedis, "_everywhere", ask_redis)
    return found


def test_while_redis_hangs_requests_are_limited_and_do_not_wait(
    make_offline: MakeOffline, hanging: Hanging, asked: list[str]
) -> None:
    app = make_offline(LIMITS="on", REQUEST_LIMIT="20 per day", REDIS_URL=hanging.url)
    contract_of(app)  # is made once, not by 32 threads at once
    found = in_parallel(32, lambda _: ask(client_of(app)).status_code)
    assert 1 <= len(asked) <= 32
    asked.clear()
    found += statuses(client_of(app), 8)
    assert Counter(found) == {200: 20, 429: 20}
    assert asked == [], "later ones do not ask"


@pytest.mark.parametrize(
    "url", [gone_url(), "redis://no-such-host.invalid:6379/0"], ids=["closed port", "no such host"]
)
def test_while_redis_is_gone_requests_are_limited_and_do_not_wait(
    make_offline: MakeOffline, url: str, asked: list[str]
) -> None:
    app = make_offline(LIMITS="on", REQUEST_LIMIT="2 per day", REDIS_URL=url)
    assert statuses(client_of(app), 4) == [200, 200, 429, 429]
    assert len(asked) == 1


def test_a_request_does_not_wait_for_a_question_that_nobody_answers(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look-up of a name may take longer than any timeout of the client of Redis."""
    counter, over = InRedis(gone_url()), Event()
    monkeypatch.setattr(counter, "_increment", lambda *_: over.wait(DEADLINE) and 7)
    try:
        assert counter.add(policy, 1, "a") == 1
    finally:
        over.set()


@needs_redis
def test_an_error_of_redis_limits_here(redis: Redis, policy: Policy) -> None:
    redis.lpush(f"tessera:limits:{policy.name}:1:a", "a list is no number")
    counter = InRedis(REDIS)
    assert [counter.add(policy, 1, "a") for _ in range(2)] == [1, 2]


@needs_redis
def test_what_was_counted_here_holds_when_redis_goes(
    redis: Redis, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = InRedis(REDIS)
    counter.add(policy, 1, "a")
    monkeypatch.setattr(counter, "_redis", InRedis(gone_url())._redis)
    assert counter.add(policy, 1, "a") == 2


@needs_redis
def test_it_shares_again_when_redis_is_back(
    redis: Redis, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: seconds[0])
    counter = InRedis(REDIS)
    working, broken = counter._redis, InRedis(gone_url())._redis
    monkeypatch.setattr(counter, "_redis", broken)
    assert counter.add(policy, 1, "a") == 1
    monkeypatch.setattr(counter, "_redis", working)
    redis.set(f"tessera:limits:{policy.name}:1:a", 7, ex=60)
    seconds[0] = limits.REST_SECONDS - 0.1
    assert counter.add(policy, 1, "a") == 2  # not asked yet
    seconds[0] = limits.REST_SECONDS
    assert counter.add(policy, 1, "a") == 8


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "Requests are limited by this process."),
        ({"TESSERA_WORKERS": "2"}, "up to 2 times as much; set TESSERA_REDIS_URL"),
        ({"TESSERA_WORKERS": "2"}, "Failed sign-ins are limited over all processes, in the database."),
        ({"TESSERA_LIMITS": "off"}, "TESSERA_LIMITS is off: PASSWORDS MAY BE GUESSED WITHOUT LIMIT."),
        ({"TESSERA_REDIS_URL": gone_url()}, "Requests are limited over all processes, in Redis."),
        ({"TESSERA_REDIS_URL": gone_url()}, "Redis does not answer (ConnectionError)"),
    ],
)
def test_the_doctor_says_what_is_limited_where(settings: dict[str, str], said: str, tmp_path: Path) -> None:
    ended = tessera_here("doctor", environ={"TESSERA_DATA_DIR": str(tmp_path), **settings})
    assert said in ended.output


@pytest.mark.parametrize("url", ["redis://:hunter2@", "http://127.0.0.1", "redis://a b", "hunter2"])
def test_an_unfit_redis_url_is_refused_without_repeating_it(url: str, tmp_path: Path) -> None:
    ended = tessera_here("config", environ={"TESSERA_DATA_DIR": str(tmp_path), "TESSERA_REDIS_URL": url})
    assert ended.code == 1
    assert "TESSERA_REDIS_URL: must be redis://" in ended.all
    assert "hunter2" not in ended.all
