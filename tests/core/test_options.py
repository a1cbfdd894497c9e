"""What options mean that leave something open."""

from __future__ import annotations

import numpy as np
import pytest

from edge_cl import LatentSpec, Learner
from edge_cl.checks import stream
from edge_cl.errors import InvalidOption
from edge_cl.options import HeadOptions

SPEC = LatentSpec(8, scale=0.02)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 2.0),
        ({"hidden": [64]}, 0.3),
        ({"optimizer": "adam"}, 0.01),
        ({"optimizer": "adam", "hidden": [64, 8]}, 0.001),
        ({"learning_rate": 0.7}, 0.7),
        ({"learning_rate": 0.7, "hidden": [64], "optimizer": "adam"}, 0.7),
        ({"learning_rate": None, "hidden": [64]}, 0.3),
    ],
    ids=str,
)
def test_the_step_follows_the_heads_shape_and_rule_unless_it_is_given(options, expected):
    parsed = HeadOptions.model_validate(options)
    assert parsed.step_length == expected
    assert parsed.make_optimizer().learning_rate == expected


@pytest.mark.parametrize("strategy", ["naive", "latent_replay", "ar1", "cwr", "generative_replay"])
def test_leaving_it_open_is_naming_what_it_is(strategy):
    learners = [
        Learner.create(
            strategy=strategy,
            spec=SPEC,
            memory_budget="64KiB",
            options={"hidden": [6], **given},
            seed=2,
        )
        for given in ({}, {"learning_rate": 0.3})
    ]
    for learner in learners:
        stream(SPEC, 60).teach(learner, 0, 60)
    open_, named = (learner._strategy.weights for learner in learners)
    assert np.array_equal(open_, named)


def test_layers_that_a_live_learner_gets_bring_their_step_with_them():
    made = Learner.create(strategy="replay", spec=SPEC, memory_budget="32KiB", seed=3)
    stream(SPEC, 60).teach(made, 0, 60)
    assert made._strategy.optimizer.learning_rate == 2
    made.change_strategy("replay", {"hidden": [16]})
    assert made.options["learning_rate"] is None
    assert made._strategy.optimizer.learning_rate == 0.3
    made.change_strategy("replay", {"learning_rate": 0.5})
    made.change_strategy("replay", {"hidden": []})
    assert made._strategy.optimizer.learning_rate == 0.5


@pytest.mark.parametrize("wrong", [0, -1, 101, "fast", float("nan")])
def test_a_step_that_is_none_is_refused(wrong):
    with pytest.raises(InvalidOption, match="learning_rate"):
        Learner.create(
            strategy="replay",
            spec=SPEC,
            memory_budget="32KiB",
            options={"learning_rate": wrong},
        )
