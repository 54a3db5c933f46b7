"""What people do with their accounts, from the sign-up to the end: a load of nearly everything."""

import http.client
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

from benchmarks.failures import Outcome, WrongAnswer
from benchmarks.peers.apps.common import PASSWORD
from benchmarks.systems import bearer

PATIENCE = 15.0  # seconds that an answer may take
RECOVERY = 1.0  # seconds between a failed journey and the next one
TRIES = 30
IDLE = 3.0  # seconds after which a connection is not used again: the service closes it after 5
PROFILES = 5  # read with each access token
REFRESHES = 2  # of each session
ME = "/v1/users/me"


class Pace:
    """Lets requests go, at so many a second over all threads or with None as they come, and times them."""

    def __init__(self, rate: float | None = None) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._next = time.monotonic()
        self.latencies: list[float] = []
        self.put_off = 0  # how often somebody was told to come later

    def wait(self) -> None:
        """Wait for one's turn; turns that nobody could take for a second are lost."""
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._next = max(self._next + 1 / self._rate, now - 1)
            seconds = self._next - now
        time.sleep(max(0.0, seconds))


class Caller:
    """Somebody with a connection that is kept alive."""

    def __init__(self, port: int, pace: Pace) -> None:
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._pace = pace
        self._used_at = 0.0

    def call(
        self, status: int, method: str, path: str, body: Any = None, token: str | None = None, **headers: str
    ) -> Any:
        """Return what the answer holds, which must have this status; `If_Match` becomes `If-Match`.

        Who is told to come later (503) does, some times.
        """
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        fields |= {"Content-Type": "application/json"} | (bearer(token) if token else {})
        sent = None if body is None else json.dumps(body)
        for _ in range(TRIES):
            answered, held = self._exchange(method, path, sent, fields)
            if answered == status:
                return json.loads(held) if held else None
            if answered != 503:
                break
            self._pace.put_off += 1
            time.sleep(1)
        raise WrongAnswer(f"{method} {path}: status {answered}, not {status}: {held[:500]!r}")

    def _exchange(
        self, method: str, path: str, body: str | None, fields: dict[str, str]
    ) -> tuple[int, bytes]:
        """Return status and body of the answer."""
        self._pace.wait()
        began = time.monotonic()
        if began - self._used_at > IDLE:
            self.close()
        self._client.request(method, path, body, fields)
        answer = self._client.getresponse()
        held = answer.read()
        self._used_at = time.monotonic()
        self._pace.latencies.append(self._used_at - began)
        return answer.status, held

    def sign_in(self, username: str, password: str = PASSWORD, status: int = 201) -> Any:
        return self.call(status, "POST", "/v1/sessions", {"identifier": username, "password": password})

    def refresh(self, tokens: Any) -> Any:
        return self.call(200, "POST", "/v1/sessions/refresh", {"refresh_token": tokens["refresh_token"]})

    def close(self) -> None:
        self._client.close()


class Administrator:
    """Somebody who looks at the newest users, again and again."""

    def __init__(self, username: str) -> None:
        self._username = username
        self._lock = threading.Lock()
        self._tokens: Any = None
        self._since = 0.0

    def look(self, caller: Caller) -> None:
        """See the first page of the list."""
        caller.call(200, "GET", "/v1/users?limit=20", token=self._token(caller))

    def _token(self, caller: Caller) -> str:
        with self._lock:
            if self._tokens is None:
                self._tokens = caller.sign_in(self._username)
            elif time.monotonic() - self._since > 20:
                self._tokens = caller.refresh(self._tokens)
            else:
                return str(self._tokens["access_token"])
            self._since = time.monotonic()
            return str(self._tokens["access_token"])


def journey(caller: Caller, administrator: Administrator) -> None:
    """Sign up, mistype the password, use two sessions, ask for a letter, and delete the account."""
    name = f"user-{secrets.token_hex(8)}"
    details = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    for _ in range(2):  # as if the first answer had been lost
        user = caller.call(201, "POST", "/v1/users", details, Idempotency_Key=name)
    caller.sign_in(name, "not the password", 401)
    tokens = _use(caller, caller.sign_in(name), user["id"])
    administrator.look(caller)
    caller.call(202, "POST", "/v1/password-resets", {"email": details["email"]})
    caller.call(204, "DELETE", "/v1/sessions/current", token=tokens["access_token"])
    caller.call(401, "GET", ME, token=tokens["access_token"])
    tokens = _use(caller, caller.sign_in(name), user["id"])
    caller.call(204, "DELETE", ME, token=tokens["access_token"])


def _use(caller: Caller, tokens: Any, user_id: str) -> Any:
    """Read one's own profile, and refresh, some times; return the last tokens."""
    for left in reversed(range(REFRESHES + 1)):
        for _ in range(PROFILES):
            if caller.call(200, "GET", ME, token=tokens["access_token"])["id"] != user_id:
                raise WrongAnswer("somebody else's profile")
        if left:
            tokens = caller.refresh(tokens)
    return tokens


@contextmanager
def travelling(
    port: int, people: int, administrator: str, pace: Pace, failed: Outcome | None = None
) -> Iterator[Callable[[], None]]:
    """Let so many people make one journey after the other meanwhile.

    With `failed` a failure is counted there, and its person begins a new journey. Else yield what raises
    WrongAnswer, or what else ended somebody's journey, as it is raised at the end as well.
    """
    stop = threading.Event()
    looks = Administrator(administrator)

    def travel() -> None:
        with closing(Caller(port, pace)) as caller:
            while not stop.is_set():
                try:
                    journey(caller, looks)
                except (WrongAnswer, OSError, http.client.HTTPException) as failure:
                    if failed is None:
                        raise
                    failed.fail(f"{type(failure).__name__}: {failure}")
                    caller.close()
                    stop.wait(RECOVERY)

    def check(travels: list["Future[None]"]) -> None:
        for one in travels:
            if stop.is_set() or one.done():
                one.result()

    with ThreadPoolExecutor(people) as pool:
        travels = [pool.submit(travel) for _ in range(people)]
        try:
            yield lambda: check(travels)
        finally:
            stop.set()
        check(travels)
