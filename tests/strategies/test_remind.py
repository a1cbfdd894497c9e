"""REMIND: latents through the quantiser, and mixtures of exemplars."""

import numpy as np
import pytest
from clusters import CODES, QUICK_CHECKS, accuracy, conforms, draw, make, teach

from edge_cl.equations import cross_entropy
from edge_cl.types import LatentSpec


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def taught(rng, **options):
    options = {"learning_rate": 0.3, "replay_batch": 9, "memory_samples": 60, **options}
    strategy = make("remind", **options)
    teach(strategy, draw(rng, (0, 1, 2), 80))
    return strategy


def test_an_exemplar_takes_an_eighth_of_a_byte_a_value():
    strategy = make("remind", LatentSpec(256, scale=0.02), memory_samples=50)
    strategy.grow(2, 0, 1 << 22)
    assert strategy.ledger()["memory/codes"] == 50 * 256 // 8
    assert strategy.ledger()["memory/codec.codebook"] == 256 * 256


def test_a_new_sample_goes_through_the_quantiser(rng):
    strategy = taught(rng)
    new = draw(rng, (0, 1, 2), 20, noise=0.5)
    words = strategy.memory.codec.arrays()["codebook"][0, :, : CODES.dim]
    told = CODES.to_float(words)
    squares = ((new.latents[:, None] - told[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(strategy.presented(new).latents, told[squares.argmin(axis=1)])


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_the_step_goes_down_the_mixed_loss(rng, hidden):
    strategy = taught(rng, mixup=0.4, hidden=hidden)
    new = draw(rng, (0, 1, 2), 4)
    drawn, shares = [], []
    rehearse, share = strategy.rehearse, strategy.shares
    strategy.rehearse = lambda n: drawn.append(rehearse(n)) or drawn[-1]
    strategy.shares = lambda n: shares.append(share(n)) or shares[-1]
    start = strategy.weights.copy()
    value = strategy.step(new)

    def total(weights):
        (one, other), (weight,) = drawn, shares
        losses = list(cross_entropy(strategy.head.logits(weights, new.latents), new.classes))
        for n, w in enumerate(weight):
            mixed = (w * one.latents[n] + (1 - w) * other.latents[n])[None]
            logits = strategy.head.logits(weights, mixed.astype(np.float32))
            losses.append(
                w * cross_entropy(logits, one.classes[n : n + 1])[0]
                + (1 - w) * cross_entropy(logits, other.classes[n : n + 1])[0]
            )
        return float(np.mean(losses))

    assert value == pytest.approx(total(start), rel=1e-4)
    gradient = (start - strategy.weights) / 0.3
    for n in rng.choice(len(start), min(25, len(start)), replace=False):
        nudge = np.zeros_like(start)
        nudge[n] = 1e-2
        slope = (total(start + nudge) - total(start - nudge)) / 2e-2
        assert gradient[n] == pytest.approx(slope, abs=2e-3)


def test_shares_follow_the_beta_distribution(rng):
    shares = taught(rng, mixup=0.1).shares(20_000)
    assert shares.mean() == pytest.approx(0.5, abs=0.01)
    assert shares.var() == pytest.approx(1 / (4 * 1.2), abs=0.01)
    assert (taught(rng, mixup=0).shares(5) == 1).all()


def test_classes_stay_balanced(rng):
    strategy = make("remind", learning_rate=0.5, memory_samples=60)
    for classes in ((0, 1), (2, 3), (4, 5)):
        teach(strategy, draw(rng, classes, 100))
    assert strategy.memory.counts.tolist() == [10] * 6


def test_it_remembers(rng):
    strategy = make("remind", learning_rate=0.5)
    for classes in ((0, 1), (2, 3), (4, 5)):
        teach(strategy, draw(rng, classes, 100))
    assert accuracy(strategy, draw(rng, range(6), 300)) > 0.9


@pytest.mark.parametrize("check", QUICK_CHECKS)
def test_remind_variants_conform(check):
    conforms("remind", check, hidden=(4,), batch_size=3, learning_rate=0.1, mixup=1.0)
    conforms("remind", check, softmax_over="context", memory_samples=25, codec="uint8")
