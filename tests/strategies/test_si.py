"""Synaptic intelligence: the path integral against a slow reference."""

import numpy as np
import pytest
from clusters import QUICK_CHECKS, conforms, draw, make, teach

OPTIONS = {"hidden": (4,), "learning_rate": 0.05, "strength": 3.0, "damping": 0.2}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def loss_slope(strategy, batch):
    """Gradient of the loss alone, by differences, at the present weights."""
    weights, slope = strategy.weights.astype(np.float64), np.zeros(len(strategy.weights))
    for n in range(len(slope)):
        values = []
        for step in (1e-5, -1e-5):
            moved = weights.copy()
            moved[n] += step
            values.append(strategy.loss(batch, strategy.head.forward(moved, batch.latents))[0])
        slope[n] = (values[0] - values[1]) / 2e-5
    return slope


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_path_is_loss_gradient_times_actual_move(rng, optimizer):
    si = make("si", optimizer=optimizer, momentum=0.5, **OPTIONS)
    teach(si, draw(rng, (0, 1), 40, context=0))
    si.end_experience()
    path = np.zeros(len(si.weights))
    for _ in range(12):
        batch = draw(rng, (0, 1), 3, context=1)
        slope, before = loss_slope(si, batch), si.weights.copy()
        si.step(batch)
        path -= slope * (si.weights - before)
    np.testing.assert_allclose(si.path, path, rtol=1e-3, atol=1e-6)


def test_importance_is_the_path_over_the_squared_way(rng):
    si = make("si", **OPTIONS)
    expected = 0.0
    for context in range(3):
        teach(si, draw(rng, (0, 1), 30, context=context))
        way = si.weights - si.anchor
        expected = expected + np.maximum(si.path, 0) / (way**2 + 0.2)
        si.end_experience()
        np.testing.assert_allclose(si.importance, expected, rtol=1e-5)
        np.testing.assert_array_equal(si.anchor, si.weights)
        assert not si.path.any()
    assert (si.importance >= 0).all()
    assert si.importance.any()


def test_a_step_goes_down_loss_and_penalty(rng):
    si = make("si", optimizer="sgd", **OPTIONS)
    teach(si, draw(rng, (0, 1), 30, context=0))
    si.end_experience()
    si.weights += rng.normal(0, 0.1, len(si.weights)).astype(np.float32)
    batch = draw(rng, (0, 1), 5, context=1)
    gradient, before = si.loss_gradient(batch)[1], si.weights.copy()
    si.step(batch)
    pulled = gradient + 2 * 3.0 * si.importance * (before - si.anchor)
    np.testing.assert_allclose(si.weights, before - 0.05 * pulled, rtol=1e-4, atol=1e-6)


def test_a_new_class_is_anchored_at_zero(rng):
    si = make("si", **OPTIONS)
    teach(si, draw(rng, (0, 1), 20, context=0))
    si.end_experience()
    si.grow(3, 1, 1 << 22)
    assert not si.head.rows(si.anchor)[2].any()
    assert not si.head.rows(si.importance)[2].any()


@pytest.mark.parametrize("check", QUICK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("options", [{"hidden": (6, 5)}, {"softmax_over": "context"}])
def test_conforms(check, options):
    conforms("si", check, **options)
