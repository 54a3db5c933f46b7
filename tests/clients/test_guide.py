"""The code of docs/clients.md is that of the clients which the other tests here run."""

import pytest

from tests.clients.workshop import HERE, code_blocks

RUN = {"python": ("journey.py",), "ts": ("journey.ts", "refreshing.ts", "crowd.ts")}


def stripped(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


@pytest.mark.parametrize("language", RUN)
def test_every_block_stands_in_what_runs(language: str) -> None:
    run = [f"\n{stripped((HERE / name).read_text(encoding='utf-8'))}\n" for name in RUN[language]]
    blocks = [f"\n{stripped(block)}\n" for block in code_blocks(language)]
    assert len(blocks) > 7
    assert [block for block in blocks if not any(block in text for text in run)] == []


def test_the_fetch_that_refreshes_is_shown_whole() -> None:
    assert (HERE / "refreshing.ts").read_text(encoding="utf-8") in code_blocks("ts")
