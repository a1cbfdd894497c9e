"""AR1: what it adds to CWR*: replay that is counted, and clipped importance below."""

import numpy as np
import pytest
from clusters import QUICK_CHECKS, conforms, draw, make, teach

OPTIONS = {"hidden": (5,), "learning_rate": 0.05, "codec": "uint8"}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_replayed_samples_count_as_current(rng):
    ar1 = make("ar1", replay_batch=8, memory_samples=50, **OPTIONS)
    teach(ar1, draw(rng, (0, 1), 50, context=0))
    ar1.end_experience()
    past = ar1.past.copy()
    ar1.grow(4, 2, 1 << 22)
    ar1._open_experience(1)
    ar1.step(draw(rng, (2, 3), 10, context=1))
    assert ar1.current.sum() == 10 + 8
    assert ar1.current[:2].any()
    ar1.end_experience()
    assert (ar1.past[:2] > past[:2]).all()


def test_body_importance_is_the_clipped_path_integral(rng):
    ar1 = make("ar1", damping=0.01, largest_importance=0.02, **OPTIONS)
    size, expected = ar1.head.body_size, 0.0
    for context, classes in enumerate(((0, 1), (2, 3))):
        teach(ar1, draw(rng, classes, 40, context=context))
        way = ar1.weights[:size] - ar1.anchor
        expected = np.minimum(expected + np.maximum(ar1.path, 0) / (way**2 + 0.01), 0.02)
        ar1.end_experience()
        np.testing.assert_allclose(ar1.importance, expected, rtol=1e-5)
    assert ar1.importance.min() >= 0
    assert ar1.importance.max() == pytest.approx(0.02)
    assert len(ar1.importance) == size, "the last layer has none"


def test_the_path_counts_the_gradient_of_the_loss_alone(rng):
    ar1 = make("ar1", replay_batch=1, strength=50.0, largest_importance=1.0, **OPTIONS)
    teach(ar1, draw(rng, (0, 1), 40, context=0))
    ar1.end_experience()
    size = ar1.head.body_size
    ar1.grow(4, 2, 1 << 22)
    ar1._open_experience(1)
    gradient = rng.normal(0, 1, len(ar1.weights)).astype(np.float32)
    ar1.weights[:size] += 0.1
    before = ar1.weights[:size].copy()
    pulled = gradient[:size] + 2 * 50 * ar1.importance * (before - ar1.anchor)
    of_loss = gradient[:size].copy()
    ar1.update(gradient)
    moved = ar1.weights[:size] - before
    np.testing.assert_allclose(moved, -0.05 * pulled, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ar1.path, -of_loss * moved, rtol=1e-4, atol=1e-7)


def test_with_a_linear_head_nothing_is_below_the_last_layer():
    ar1 = make("ar1")
    assert ar1.importance.shape == (0,)
    assert ar1.head.body_size == 0


def test_without_strength_it_is_ar1_free(rng):
    free = make("ar1", strength=0.0, **OPTIONS)
    teach(free, draw(rng, (0, 1), 30, context=0))
    free.end_experience()
    body = free.weights[: free.head.body_size].copy()
    teach(free, draw(rng, (2, 3), 30, context=1))
    assert not np.array_equal(free.weights[: free.head.body_size], body)


@pytest.mark.parametrize("check", QUICK_CHECKS, ids=lambda check: check.__name__)
def test_conforms(check):
    conforms("ar1", check, experience_samples=9, **OPTIONS)
