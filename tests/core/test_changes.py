"""A learner that has learned gets another budget."""

from __future__ import annotations

import numpy as np
import pytest

from edge_cl import LatentSpec, Learner, errors
from edge_cl.checks import assert_same_state, stream

SPEC = LatentSpec(8, scale=0.02)


def taught(strategy, samples=600, **settings) -> Learner:
    settings = {"spec": SPEC, "memory_budget": "32KiB", "seed": 3, **settings}
    made = Learner.create(strategy=strategy, **settings)
    stream(SPEC, samples).teach(made, 0, samples)
    return made


def test_less_evicts_by_the_selection_policy_and_more_fills_up():
    made = taught("replay", options={"selection": "class_balanced"})
    before = len(made._strategy.memory)
    made.set_budget("8KiB")
    counts = made._strategy.memory.counts
    assert sum(made.ledger().values()) <= 8192
    # What is freed is the memory's alone: 8192 bytes hold as many rows as they hold whole rows.
    rest = 8192 - sum(made.ledger().values())
    row_bytes = sum(made.ledger()[f"memory/{name}"] for name in ("codes", "classes", "ids"))
    assert rest < 2 * row_bytes / made._strategy.memory.capacity + 64
    assert max(counts) - min(counts) <= 1
    made.set_budget("32KiB")
    assert made._strategy.memory.capacity > len(made._strategy.memory) == counts.sum()
    stream(SPEC, 600, seed=2).teach(made, 0, 600)
    assert len(made._strategy.memory) > before - 1


def test_a_strategy_that_keeps_everything_gives_up_nothing():
    made = taught("joint", samples=60)
    with pytest.raises(errors.BudgetExceeded) as refusal:
        made.set_budget("1KiB")
    made.set_budget(refusal.value.asked_bytes)
    assert len(made._strategy.memory) == 60
    with pytest.raises(errors.BudgetExceeded):
        made.learn_latents(np.ones((1, 8), dtype=np.float32), ["class 0"])


def test_a_budget_is_part_of_what_is_saved(tmp_path):
    made = taught("ar1")
    made.set_budget("16KiB")
    made.save(tmp_path / "learner")
    loaded = Learner.load(tmp_path / "learner")
    assert loaded.memory_budget == 16 * 1024
    assert_same_state(made, loaded)
    with pytest.raises(errors.InvalidOption, match="no size"):
        made.set_budget("some")
