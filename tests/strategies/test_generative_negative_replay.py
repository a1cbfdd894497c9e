"""Generative negative replay: dreamed rows only ever push the present classes away."""

import numpy as np
import pytest

from edge_cl.equations import one_hot, softmax
from edge_cl.options import parse_options
from edge_cl.strategies.generative_negative_replay import (
    GenerativeNegativeReplay,
    GenerativeNegativeReplayOptions,
)
from edge_cl.types import Batch, LatentSpec

DIM = 5
EMPTY = Batch.of(np.zeros((0, DIM), np.float32), np.zeros(0, np.int64))


def samples(classes, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.eye(DIM, dtype=np.float32)[classes]
    return Batch.of(centres + rng.normal(0, 0.1, centres.shape).astype(np.float32), classes)


def taught(**options):
    """Classes 0 and 1 consolidated; class 2 begun in the second experience."""
    values = {"normalise": "none", "learning_rate": 0.5, "replay_batch": 6, **options}
    kind = GenerativeNegativeReplayOptions
    parsed = parse_options(kind, values, strategy="generative_negative_replay")
    strategy = GenerativeNegativeReplay(LatentSpec(DIM), parsed, seed=1, allowed_bytes=1 << 24)
    strategy.grow(2, 0, 1 << 24)
    for seed in range(40):
        strategy.observe(samples(np.array([0, 1, 0, 1]), seed))
    strategy.end_experience()
    strategy.grow(4, 0, 1 << 24)
    for seed in range(5):
        strategy.observe(samples(np.array([2, 2]), seed))
    return strategy


@pytest.mark.parametrize(
    "options", [{}, {"hidden": (6,)}, {"momentum": 0.9}, {"optimizer": "adam"}], ids=str
)
def test_a_step_of_dreams_alone_leaves_every_other_class_row_bit_identical(options):
    strategy = taught(**options)
    if options.get("momentum") or options.get("optimizer"):
        # Moments of real rows move weights of their own: begin without them.
        for name in strategy.optimizer.slots(0):
            getattr(strategy, name)[:] = 0
    rows = strategy.head.rows(strategy.weights)
    before, consolidated = rows.copy(), strategy.consolidated.copy()
    strategy.step(EMPTY)
    others = [0, 1, 3]
    assert rows[others].tobytes() == before[others].tobytes()
    assert not np.array_equal(rows[2], before[2])
    assert strategy.consolidated.tobytes() == consolidated.tobytes()


def test_dreams_lower_the_present_class_where_they_lie():
    strategy = taught()
    negatives = strategy.negatives()
    before = strategy.head.logits(strategy.weights, negatives.latents)[:, 2].mean()
    strategy.negatives = lambda: negatives
    strategy.step(EMPTY)
    assert strategy.head.logits(strategy.weights, negatives.latents)[:, 2].mean() < before


def test_gradient_by_the_logits_row_by_row():
    strategy = taught()
    mixed = Batch.concat([samples(np.array([2, 2])), strategy.negatives()])
    # A dream of the present class itself must not become a positive.
    mixed.classes[-1] = 2
    forward = strategy.head.forward(strategy.weights, mixed.latents)
    _, gradient = strategy.loss(mixed, forward)
    full = softmax(forward.logits) - one_hot(mixed.classes, 4)
    full[:2] /= 2
    full[2:] /= 6
    np.testing.assert_allclose(gradient[:-1, 2], full[:-1, 2], atol=1e-7)
    assert (gradient[:2, 2] < 0).all()
    assert (gradient[2:-1, 2] > 0).all()
    assert not gradient[:, [0, 1, 3]].any()
    assert not gradient[-1].any()


def test_old_rows_rest_at_their_consolidated_values():
    strategy = taught(learning_rate=0.05)
    rows = strategy.head.rows(strategy.weights)
    assert strategy.consolidated[:2].any()
    assert rows[:2].tobytes() == strategy.consolidated[:2].tobytes()


def test_dreams_do_not_count_as_samples():
    strategy = taught()
    current = strategy.current.copy()
    strategy.step(EMPTY)
    np.testing.assert_array_equal(strategy.current, current)


def test_labels_of_dreams_are_the_consolidated_rows():
    strategy = taught()
    negatives = strategy.negatives()
    expected = (negatives.latents @ strategy.consolidated.T).argmax(axis=1)
    np.testing.assert_array_equal(negatives.classes, expected)
