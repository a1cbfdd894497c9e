"""DER++: what is kept with an exemplar, and the three terms of the loss."""

import numpy as np
import pytest
from clusters import CODES, QUICK_CHECKS, conforms, draw, make, teach


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_logits_are_those_of_the_moment_of_storing(rng):
    strategy = make("derpp", learning_rate=0.5, memory_samples=60, hidden=(5,))
    told = {}
    for start, classes in enumerate(((0, 1), (2,), (1, 3, 4))):
        batch = draw(rng, classes, 20)
        strategy.grow(max(classes) + 1, 0, 1 << 22)
        for n in range(20):
            one = batch[n : n + 1]
            one.ids[:] = 100 * start + n
            strategy.observe(one)
            told[int(one.ids[0])] = strategy.head.logits(strategy.weights, one.latents)[0]
    logits = strategy.memory.column("logits")
    assert len(strategy.memory) == 60
    for row, sample_id in enumerate(strategy.memory.all().ids):
        expected = told[int(sample_id)]
        assert len(expected) == (2, 3, 5)[sample_id // 100]
        np.testing.assert_allclose(logits[row, : len(expected)], expected, rtol=1e-3, atol=1e-3)
        assert not logits[row, len(expected) :].any()


def test_a_step_is_the_sum_of_three_terms_over_two_draws(rng):
    options = {"learning_rate": 0.3, "memory_samples": 50, "replay_batch": 8}
    strategy = make("derpp", distillation=0.7, rehearsal=0.4, **options)
    teach(strategy, draw(rng, (0, 1, 2), 50))
    new = draw(rng, (3,), 6)
    strategy.grow(4, 0, 1 << 22)
    draws = []
    original = strategy.memory.draw
    strategy.memory.draw = lambda *args: draws.append(original(*args)) or draws[-1]
    start = strategy.weights.copy()

    def total(weights):
        first, second = draws
        rows, kept = strategy.memory.rows(first), strategy.memory.column("logits")[first]
        difference = strategy.head.logits(weights, rows.latents) - kept.astype(np.float32)
        labelled = strategy.memory.rows(second)
        return (
            mean_cross_entropy(strategy.head.logits(weights, new.latents), new.classes)
            + 0.7 * (difference.astype(np.float64) ** 2).mean()
            + 0.4
            * mean_cross_entropy(strategy.head.logits(weights, labelled.latents), labelled.classes)
        )

    strategy.step(new)
    assert len(draws) == 2
    assert sorted(draws[0]) != sorted(draws[1])
    gradient = (start - strategy.weights) / 0.3
    for n in rng.choice(len(start), 25, replace=False):
        nudge = np.zeros_like(start)
        nudge[n] = 1e-2
        slope = (total(start + nudge) - total(start - nudge)) / 2e-2
        assert gradient[n] == pytest.approx(slope, abs=2e-3)


def mean_cross_entropy(logits, classes):
    shifted = logits.astype(np.float64)
    return float(
        np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(classes)), classes])
    )


def test_kept_logits_are_in_the_ledger():
    few, many = make("derpp", memory_samples=10), make("derpp", memory_samples=10)
    few.grow(2, 0, 1 << 22)
    many.grow(7, 0, 1 << 22)
    assert (
        many.ledger()["memory/column.logits"] - few.ledger()["memory/column.logits"] == 10 * 5 * 2
    )


def test_huge_logits_stay_finite(rng):
    strategy = make("derpp", CODES, learning_rate=0.1)
    teach(strategy, draw(rng, (0, 1), 4))
    strategy.weights[:] = 1e6
    teach(strategy, draw(rng, (0, 1), 4))
    assert np.isfinite(strategy.memory.column("logits")).all()


@pytest.mark.parametrize("check", QUICK_CHECKS)
def test_derpp_variants_conform(check):
    conforms("derpp", check, hidden=(4,), batch_size=3, learning_rate=0.1, memory_samples=25)
    conforms("derpp", check, softmax_over="context", codec="float32", optimizer="adam")
