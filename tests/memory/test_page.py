"""The page on the memory names everything there is, and its example runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_cl.codec import names
from edge_cl.memory import ReplayMemory, retrievals, selections

PAGE = (Path(__file__).parents[2] / "docs" / "memory.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*names(), *selections(), *retrievals()])
def test_every_name_is_explained(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_the_example_runs_and_keeps_its_promise() -> None:
    block = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    scope: dict[str, object] = {}
    exec(block[1], scope)
    memory = scope["memory"]
    assert isinstance(memory, ReplayMemory)
    assert 0.99 * 256 * 1024 < sum(memory.ledger_bytes().values()) <= 256 * 1024
