"""Maximally interfered retrieval: which exemplars come back."""

import numpy as np
import pytest
from clusters import QUICK_CHECKS, conforms, draw, make, teach

from edge_cl.equations import cross_entropy


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def taught(rng, **options):
    options = {"learning_rate": 0.5, "memory_samples": 40, "candidates": 40, **options}
    mir = make("mir", hidden=(5,), **options)
    for context, classes in enumerate(((0, 1), (2, 3), (4, 5))):
        teach(mir, draw(rng, classes, 40, context=context, noise=0.6))
    return mir


def losses(mir, weights):
    """Of every row in memory, one at a time, from the head's definition."""
    rows = mir.memory.all()
    singles = [rows[n : n + 1] for n in range(len(rows))]
    logits = [mir.head.logits(weights, single.latents) for single in singles]
    return np.array(
        [cross_entropy(z, one.classes)[0] for z, one in zip(logits, singles, strict=True)]
    )


@pytest.mark.parametrize("compare_to_best", [False, True])
def test_the_most_harmed_come_back_in_order(rng, compare_to_best):
    mir = taught(rng, compare_to_best=compare_to_best, replay_batch=7)
    new = draw(rng, (4, 5), 10, context=2, noise=0.6)
    gradient = mir.loss_gradient(new)[1]
    before = losses(mir, mir.weights)
    after = losses(mir, mir.weights - 0.5 * gradient)
    least = np.minimum(before, mir.memory.column("best_loss")) if compare_to_best else before
    rise = np.where(mir.memory.all().contexts == 2, -np.inf, after - least)
    found = mir.retrieved(new, gradient)
    assert len(found) == 7
    np.testing.assert_allclose(rise[found], np.sort(rise)[::-1][:7], atol=1e-5)


def test_the_virtual_step_changes_nothing(rng):
    mir = taught(rng)
    before = mir.weights.copy()
    new = draw(rng, (4, 5), 10, context=2)
    mir.retrieved(new, mir.loss_gradient(new)[1])
    np.testing.assert_array_equal(mir.weights, before)


def test_the_step_adds_the_two_mean_gradients(rng):
    mir, twin = taught(np.random.default_rng(1)), taught(np.random.default_rng(1))
    new = draw(rng, (4, 5), 10, context=2)
    gradient = twin.loss_gradient(new)[1]
    slots = twin.retrieved(new, gradient)
    replayed = twin.loss_gradient(twin.memory.rows(slots))[1]
    mir.step(new)
    np.testing.assert_allclose(mir.weights, twin.weights - 0.5 * (gradient + replayed), atol=1e-6)


def test_the_present_context_is_not_replayed(rng):
    new = draw(rng, (4, 5), 10, context=2)
    for exclude, contexts in ((True, {0, 1}), (False, {0, 1, 2})):
        mir = taught(rng, exclude_present=exclude, replay_batch=40)
        slots = mir.retrieved(new, mir.loss_gradient(new)[1])
        assert set(mir.memory.rows(slots).contexts.tolist()) == contexts


def test_the_best_loss_is_kept(rng):
    mir = taught(rng)
    best = mir.memory.column("best_loss").copy()
    new = draw(rng, (0, 1), 10, context=0)
    now = losses(mir, mir.weights)
    seen = mir.memory.all().contexts != 0
    mir.retrieved(new, mir.loss_gradient(new)[1])
    expected = np.where(seen, np.minimum(best, now), best)
    np.testing.assert_allclose(mir.memory.column("best_loss"), expected, atol=1e-6)


def test_with_no_more_candidates_than_replays_it_is_random_replay(rng):
    mir = taught(rng, candidates=10, replay_batch=10)
    new = draw(rng, (4, 5), 10, context=2)
    drawn = np.concatenate([mir.retrieved(new, mir.loss_gradient(new)[1]) for _ in range(300)])
    others = np.flatnonzero(mir.memory.all().contexts != 2)
    counts = np.bincount(drawn, minlength=40)[others]
    assert counts.sum() == len(drawn)
    assert counts.min() > 0.6 * counts.mean()


@pytest.mark.parametrize("check", QUICK_CHECKS)
def test_mir_variants_conform(check):
    conforms("mir", check, hidden=(4,), batch_size=3, learning_rate=0.1, memory_samples=25)
    conforms("mir", check, softmax_over="context", exclude_present=False, codec="float32")
