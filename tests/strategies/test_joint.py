"""Joint training restarts on everything; cumulative training goes on."""

import numpy as np
import pytest
from clusters import QUICK_CHECKS, accuracy, conforms, draw, make, teach

from edge_cl.errors import BudgetExceeded, InvalidOption

NAMES = ("joint", "cumulative")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def sgd_by_hand(strategy, weights, rng):
    """The passes of the two, written out for a linear head."""
    rows = strategy.normalised(strategy.memory.all())
    inputs = np.column_stack([rows.latents, np.ones(len(rows))]).astype(np.float64)
    matrix = weights.reshape(strategy.classes, -1).astype(np.float64)
    for _ in range(strategy.options.passes):
        order = rng.permutation(len(rows))
        for start in range(0, len(rows), strategy.options.train_batch):
            part = order[start : start + strategy.options.train_batch]
            exponential = np.exp(inputs[part] @ matrix.T)
            error = exponential / exponential.sum(axis=1, keepdims=True)
            error[np.arange(len(part)), rows.classes[part]] -= 1
            matrix = matrix - strategy.options.learning_rate * error.T @ inputs[part] / len(part)
    return matrix.ravel()


def test_joint_is_sgd_on_everything_from_the_initial_weights(rng):
    joint = make("joint", passes=3, train_batch=7, learning_rate=0.2)
    for classes in ((0, 1), (2,), (3, 4)):
        teach(joint, draw(rng, classes, 20))
        joint.settle()
    expected = sgd_by_hand(joint, np.zeros(5 * 7), np.random.Generator(np.random.PCG64(3)))
    np.testing.assert_allclose(joint.weights, expected, atol=1e-5)


def test_joint_does_not_depend_on_when_it_was_asked(rng):
    batch, asked, silent = draw(rng, (0, 1, 2), 40), make("joint"), make("joint")
    for n in range(0, 40, 10):
        teach(asked, batch[n : n + 10])
        asked.publish()
        teach(silent, batch[n : n + 10])
    asked.settle()
    silent.settle()
    assert asked.weights.tobytes() == silent.weights.tobytes()


def test_joint_restarts_from_the_same_hidden_layers(rng):
    joint = make("joint", hidden=(4,), passes=1, learning_rate=1e-9)
    teach(joint, draw(rng, (0, 1), 10))
    joint.settle()
    first = joint.weights[: joint.head.body_size].copy()
    teach(joint, draw(rng, (2, 3), 10))
    joint.settle()
    np.testing.assert_allclose(joint.weights[: joint.head.body_size], first, atol=1e-6)


def test_cumulative_goes_on_from_the_present_weights(rng):
    strategy = make("cumulative", passes=2, train_batch=8, learning_rate=0.2)
    teach(strategy, draw(rng, (0, 1), 20))
    strategy.end_experience()
    before = strategy.weights.copy()
    assert before.any()
    teach(strategy, draw(rng, (0, 1), 20))
    expected = sgd_by_hand(strategy, before, np.random.Generator(np.random.PCG64([3, 2])))
    strategy.end_experience()
    np.testing.assert_allclose(strategy.weights, expected, atol=1e-5)


def test_cumulative_serves_what_the_end_of_the_experience_will_bring(rng):
    strategy = make("cumulative")
    teach(strategy, draw(rng, (0, 1), 20))
    strategy.settle()
    provisional = strategy.served.copy()
    assert not strategy.weights.any()
    strategy.end_experience()
    np.testing.assert_array_equal(strategy.weights, provisional)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_forgotten(rng, name):
    strategy = make(name)
    for classes in ((0, 1), (2, 3), (4, 5)):
        teach(strategy, draw(rng, classes, 40))
        strategy.end_experience()
    assert accuracy(strategy, draw(rng, range(6), 200)) > 0.95


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_is_kept_or_refused(rng, name):
    strategy = make(name, memory_samples=30)
    batch = draw(rng, (0, 1), 40)
    strategy.grow(2, 0, 1 << 22)
    strategy.observe(batch[:30])
    with pytest.raises(BudgetExceeded, match="keeps every sample"):
        strategy.admit(2, 0, 1, 1 << 22)
    kept = strategy.memory.all()
    np.testing.assert_array_equal(kept.ids, np.arange(30))
    np.testing.assert_array_equal(kept.latents, batch.latents[:30])


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_that_evicts_is_refused(name):
    with pytest.raises(InvalidOption, match="selection"):
        make(name, selection="reservoir")


@pytest.mark.parametrize("name", NAMES)
def test_in_task_incremental_mode_other_contexts_get_no_gradient(rng, name):
    strategy = make(name, softmax_over="context", passes=1)
    teach(strategy, draw(rng, (0, 1), 20, context=0))
    teach(strategy, draw(rng, (2, 3), 20, context=1))
    scores = strategy.publish().scores(np.eye(6, dtype=np.float32), 1)
    assert (scores[:, :2] == -1e9).all()
    assert (np.abs(scores[:, 2:]) < 1e3).all()


@pytest.mark.parametrize("check", QUICK_CHECKS)
def test_cumulative_variant_conforms(check):
    conforms(
        "cumulative", check, hidden=(5,), optimizer="adam", learning_rate=0.01, memory_samples=900
    )
