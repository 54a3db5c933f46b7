"""docs/audit.md names every action that there is."""

import re

from flask import Flask

from api.app import all_features
from api.audit import service
from api.kit.events import Event
from tests.support.servers import ROOT


def _documented() -> set[str]:
    rows = re.findall(
        r"^\| (`[^|]*`) \|", (ROOT / "docs" / "audit.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_the_guide_has_every_action_and_no_other(app: Flask) -> None:
    with app.app_context():
        assert _documented() == set(service.actions())


def test_every_action_fits_its_column_and_the_contract() -> None:
    for kind in _kinds():
        for action in kind.actions:
            assert re.fullmatch("[a-z][a-z0-9_]{0,59}", action)


def _kinds() -> list[type[Event]]:
    return [kind for feature in all_features().values() for kind in feature.events]
