"""What tests need and a machine may lack: `@pytest.mark.needs("Redis")`.

Tests that need what is missing are left out, and the run reports that in one line. CI leaves nothing out.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from tests.services import POSTGRESQL, REDIS, is_available
from tests.support.node import is_installed


@dataclass(frozen=True)
class Requirement:
    """Something that tests need, and what a person does to have it."""

    name: str
    remedy: str
    is_met: Callable[[], bool]


REQUIREMENTS = {
    requirement.name: requirement
    for requirement in (
        Requirement("PostgreSQL", "make services", lambda: is_available(POSTGRESQL)),
        Requirement("Redis", "make services", lambda: is_available(REDIS)),
        Requirement("Node.js", "install Node.js 20 or newer with npm", is_installed),
    )
}


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> Counter[str]:
    """Take the tests that need what is missing out of `items`, and return how many need what."""
    if os.environ.get("CI"):
        return Counter()
    unmet = {name for name, requirement in REQUIREMENTS.items() if not requirement.is_met()}
    left_out = {item: missing for item in items if (missing := _needs(item) & unmet)}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
    return Counter(name for missing in left_out.values() for name in missing)


def _needs(item: pytest.Item) -> set[str]:
    names = {name for mark in item.iter_markers("needs") for name in mark.args}
    assert names <= set(REQUIREMENTS), f"{item.nodeid} needs what tests/support/requirements.py does not know"
    return names


def summary(left_out: Counter[str]) -> str:
    """Return the line that tells what was not tested, and how to test it."""
    counts = [
        f"{count:,} tests that need {name}" if count > 1 else f"1 test that needs {name}"
        for name, count in sorted(left_out.items())
    ]
    remedies = list(dict.fromkeys(REQUIREMENTS[name].remedy for name in sorted(left_out)))
    return f"Not tested: {_listed(counts)}. To test that as well: {', '.join(remedies)}; then make test."


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
