"""Which process of `pytest -n` runs which tests, and when."""

from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

RACES = "tests/races/"
# What starts processes of its own, or waits, and takes long: the longest first.
BUSY = (
    RACES,
    "tests/kit/test_outbox.py",
    "tests/live/",
    "tests/bulk/test_killed.py",
    "tests/test_readme.py",
    "tests/test_image.py",
    "tests/test_administration_guide.py",
    "tests/test_cli.py",
    "tests/test_feature_from_outside.py",
    "tests/users/test_command.py",
    "tests/test_verifying.py",
    "tests/kit/test_migrations.py",
)


class FromBothEnds(LoadScopeScheduling):
    """Every other process begins with the busy modules, the ones between with the others.

    So the servers of two modules seldom compete for the cores, and no long module is left to the end.
    The races are one unit, for they share their servers.
    """

    def _split_scope(self, nodeid: str) -> str:
        return RACES if nodeid.startswith(RACES) else super()._split_scope(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        if self.nodes.index(node) % 2:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


def busy_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the tests with those of busy modules first, and else in the order that they had."""
    return sorted(items, key=lambda item: _place(item.nodeid))


def _place(nodeid: str) -> int:
    return next((place for place, start in enumerate(BUSY) if nodeid.startswith(start)), len(BUSY))
