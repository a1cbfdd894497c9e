"""GEM: the projection, its quadratic program, and the ring of each context."""

from itertools import product

import numpy as np
import pytest
from clusters import QUICK_CHECKS, conforms, draw, make, teach

from edge_cl.strategies.gem import nonnegative_minimum, projected


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def least_by_brute_force(matrix, slope):
    """The best of all 2^K choices of which variables are 0."""
    best, found = 0.0, np.zeros(len(slope))
    for choice in product([False, True], repeat=len(slope)):
        free = np.array(choice)
        if not free.any():
            continue
        point = np.zeros(len(slope))
        point[free] = np.linalg.solve(matrix[np.ix_(free, free)], -slope[free])
        value = 0.5 * point @ matrix @ point + slope @ point
        if (point >= 0).all() and value < best:
            best, found = value, point
    return found


@pytest.mark.parametrize("seed", range(40))
def test_quadratic_program_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 9))
    root = rng.normal(size=(k, int(rng.integers(1, 12))))
    matrix = root @ root.T + 1e-3 * np.eye(k)
    slope = rng.normal(size=k) * 10 ** rng.uniform(-3, 3)
    found = nonnegative_minimum(matrix, slope)
    np.testing.assert_allclose(
        found, least_by_brute_force(matrix, slope), rtol=1e-6, atol=1e-9 * np.abs(slope).max()
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_projection_meets_the_optimality_conditions(seed, margin):
    rng = np.random.default_rng(seed)
    past = rng.normal(size=(5, 30)).astype(np.float32)
    gradient = (rng.normal(size=30) - past.sum(axis=0)).astype(np.float32)
    step = projected(gradient, past, margin)
    weights = np.linalg.lstsq(past.T.astype(float), (step - gradient).astype(float), rcond=None)[0]
    np.testing.assert_allclose(weights @ past, step - gradient, atol=1e-3)
    assert (weights >= margin - 1e-3).all()
    slope = past @ step + 1e-3 * weights
    assert (slope >= -1e-2).all()
    np.testing.assert_allclose(slope * (weights - margin), 0, atol=2e-2)


def test_projected_step_raises_no_old_loss(rng):
    for _ in range(20):
        past = rng.normal(size=(4, 50)).astype(np.float32)
        gradient = (rng.normal(size=50) - 2 * past[0]).astype(np.float32)
        assert (past @ gradient).min() < 0
        assert (past @ projected(gradient, past, 0.5)).min() > -1e-2


def test_a_step_that_agrees_is_not_touched(rng):
    past = rng.uniform(size=(3, 10)).astype(np.float32)
    gradient = past.sum(axis=0) * 10
    assert (past @ gradient > 0).all()
    assert projected(gradient, past, 0.5) is gradient


def test_ring_keeps_the_newest_of_every_context(rng):
    gem = make("gem", samples_per_context=7)
    for context in range(3):
        batch = draw(rng, (0, 1), 20, context=context)
        batch.ids[:] += 100 * context
        teach(gem, batch)
    for context in range(3):
        kept = gem.memory.of_context(context)
        assert sorted(kept.ids.tolist()) == list(range(100 * context + 13, 100 * context + 20))


def test_shares_shrink_when_the_memory_is_full(rng):
    gem = make("gem", samples_per_context=50, memory_samples=60)
    for context in range(4):
        teach(gem, draw(rng, (0, 1), 60, context=context))
        sizes = np.bincount(gem.memory.column("group"))
        assert sizes.sum() <= 60
        assert sizes.max() - 60 // (context + 1) <= 1 or context == 0
    assert sizes.tolist() == [15, 15, 15, 15]


def test_old_contexts_alone_constrain(rng):
    gem = make("gem", samples_per_context=10, learning_rate=0.1)
    teach(gem, draw(rng, (0, 1), 30, context=0))
    new = draw(rng, (1, 0), 5, context=0)
    gradient = gem.loss_gradient(new)[1]
    assert gem.shape_gradient(gradient, new) is gradient
    teach(gem, draw(rng, (0, 1), 5, context=1))
    against = -gem.loss_gradient(gem.memory.of_context(0))[1]
    assert not np.array_equal(gem.shape_gradient(against, new), against)


def test_without_contexts_experiences_take_their_place(rng):
    gem = make("gem", samples_per_context=10)
    for _ in range(3):
        teach(gem, draw(rng, (0, 1), 20))
        gem.end_experience()
    assert np.bincount(gem.memory.column("group")).tolist() == [10, 10, 10]


def test_constraints_are_bounded(rng):
    gem = make("gem", samples_per_context=4, constraints=3)
    for _ in range(8):
        teach(gem, draw(rng, (0, 1), 6))
        gem.end_experience()
    assert len(np.unique(gem.memory.column("group"))) == 3


@pytest.mark.parametrize("check", QUICK_CHECKS)
def test_gem_variants_conform(check):
    conforms("gem", check, hidden=(4,), batch_size=3, memory_samples=25, experience_samples=10)
    conforms("gem", check, softmax_over="context", codec="float32", samples_per_context=5)
