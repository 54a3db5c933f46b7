"""What becomes of signing keys is written down as well."""

from flask import Flask

from tests.audit.trail import entries, only
from tests.conftest import MakeApp
from tests.support.clients import new_person
from tests.support.commands import tessera_of
from tests.support.signing import published_kids


def test_the_first_key_is_made_by_the_service_whoever_asks(make_isolated: MakeApp) -> None:
    app = make_isolated()
    new_person(app)
    made = only(app, "signing_key_made")
    assert (made.actor_kind, made.actor_id, made.ip) == ("service", None, None)
    assert made.details == {"kid": published_kids(app)[0]}


def test_keys_are_rotated_and_retired_by_the_command_line(make_isolated: MakeApp) -> None:
    app = make_isolated()
    [first] = published_kids(app)
    assert tessera_of(app, "key", "rotate").code == 0
    assert tessera_of(app, "key", "retire", first).code == 0
    assert _kinds(app) == [
        ("signing_key_made", "service"),
        ("signing_key_made", "command"),
        ("signing_key_made", "command"),
        ("signing_key_retired", "command"),
    ]
    assert only(app, "signing_key_retired").details == {"kid": first}


def _kinds(app: Flask) -> list[tuple[str, str]]:
    return [(entry.action, entry.actor_kind) for entry in entries(app)]
