"""What a process remembers of requests is bounded in size, not only in number."""

from collections.abc import Callable

import pytest
from flask import Flask

from api.kit.addresses import Proxies, _read
from api.kit.http import _remembered_room, refuse_unacceptable
from api.kit.wsgi_environ import _short_key, environ_key


def read_hop(text: str) -> None:
    proxies = Proxies(["10.0.0.0/8"])
    environ = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": f"fe80::1%{text}"}
    assert proxies.client(environ) in ("10.0.0.1", "fe80::1")


def read_name(text: str) -> None:
    assert environ_key(f"x-{text}") == f"HTTP_X_{text.upper()}"


def read_accept(text: str) -> None:
    with Flask("any").test_request_context(headers={"Accept": f"text/{text}, application/json"}):
        refuse_unacceptable("application/json")


@pytest.mark.parametrize(
    ("read", "size"),
    [
        (read_hop, lambda: _read.cache_info().currsize),
        (read_name, lambda: _short_key.cache_info().currsize),
        (read_accept, lambda: _remembered_room.cache_info().currsize),
    ],
)
def test_what_strangers_make_long_is_understood_and_forgotten(
    read: Callable[[str], None], size: Callable[[], int]
) -> None:
    """Else a few thousand requests fill the memory."""
    read("a")
    before = size()
    for n in range(9):
        read(f"{n}" + "y" * 1000)
    assert size() == before
    read("b")
    assert size() > before, "what is short is remembered"
