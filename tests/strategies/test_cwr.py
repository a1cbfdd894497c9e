"""CWR*: a consolidation worked by hand, and who is counted."""

import numpy as np
import pytest
from clusters import QUICK_CHECKS, accuracy, conforms, draw, make, teach

from edge_cl.types import Batch


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def samples(cwr, classes):
    """Let `cwr` count and load these classes, without a gradient step."""
    cwr.training_batch(Batch.of(np.zeros((len(classes), 6), np.float32), np.array(classes)))


def small_cwr(classes=3):
    cwr = make("cwr", experience_samples=None)
    cwr.grow(classes, 1, 1 << 22)
    return cwr


def test_two_experiences_by_hand():
    cwr = small_cwr()
    # Experience 1: 4 samples of class 0 and 1 of class 1.
    samples(cwr, [0, 0, 0, 0, 1])
    temporary = cwr.head.rows(cwr.weights)
    temporary[0], temporary[1], temporary[2] = 3.0, 1.0, 9.0
    cwr.end(cwr.experience)
    # One mean over all weights of both classes, (3 + 1) / 2 = 2, and nothing yet to keep:
    # 3 - 2 = 1 and 1 - 2 = -1. Class 2 was not there.
    np.testing.assert_allclose(cwr.consolidated, np.outer([1, -1, 0], np.ones(6)))
    assert cwr.past.tolist() == [4, 1, 0]
    # Experience 2: 1 sample of class 0 and 2 of class 2.
    samples(cwr, [0, 2, 2])
    temporary = cwr.head.rows(cwr.weights)
    np.testing.assert_allclose(temporary[0], 1.0)
    temporary[0], temporary[2] = 4.0, 0.0
    cwr.end(cwr.experience)
    # Class 0: weight sqrt(4 / 1) = 2 for the past, mean (4 + 0) / 2 = 2: (1·2 + 4 - 2) / 3.
    # Class 2: weight 0: 0 - 2.
    np.testing.assert_allclose(cwr.consolidated, np.outer([4 / 3, -1, -2], np.ones(6)), rtol=1e-6)
    assert cwr.past.tolist() == [5, 1, 2]
    assert not cwr.current.any()


def test_the_mean_is_one_number_over_all_rows_and_values():
    cwr = small_cwr(2)
    samples(cwr, [0, 1])
    rows = cwr.head.rows(cwr.weights)
    rows[:] = np.arange(12).reshape(2, 6)
    np.testing.assert_allclose(cwr.consolidated_rows(), np.arange(12).reshape(2, 6) - 5.5)


def test_rows_of_absent_classes_are_zero_while_training(rng):
    cwr = make("cwr", experience_samples=None, learning_rate=0.5)
    teach(cwr, draw(rng, (0, 1), 40, context=0))
    cwr.end_experience()
    assert not cwr.head.rows(cwr.weights).any()
    seen = []
    step = cwr.step

    def watched(batch):
        value = step(batch)
        seen.append(cwr.head.rows(cwr.weights)[:2].copy())
        return value

    cwr.step = watched
    cwr.grow(4, 2, 1 << 22)
    batch = draw(rng, (2, 3), 1, context=1)
    rows = cwr.head.rows(cwr.weights)
    before = rows.copy()
    cwr.observe(batch)
    assert not before.any()
    # They are in the softmax, so they move by its gradient alone, from zero.
    p = 1 / 4
    np.testing.assert_allclose(seen[0], -0.5 * p * np.tile(batch.latents, (2, 1)), rtol=1e-5)
    assert not cwr.current[:2].any()


def test_it_has_no_bias_and_freezes_its_body(rng):
    cwr = make("cwr", hidden=(5,), learning_rate=0.1, weight_decay=0.1, momentum=0.9)
    assert cwr.head.row_size == 5
    teach(cwr, draw(rng, (0, 1), 40, context=0))
    cwr.end_experience()
    body = cwr.weights[: cwr.head.body_size].copy()
    teach(cwr, draw(rng, (2, 3), 40, context=1))
    np.testing.assert_array_equal(cwr.weights[: cwr.head.body_size], body)


def test_the_optimisers_memory_ends_with_the_rows(rng):
    cwr = make("cwr", momentum=0.9, learning_rate=0.1)
    teach(cwr, draw(rng, (0, 1), 40, context=0))
    assert cwr.velocity.any()
    cwr.end_experience()
    assert not cwr.velocity.any()


def test_what_is_served_is_what_the_end_will_make(rng):
    cwr = make("cwr", learning_rate=0.5)
    teach(cwr, draw(rng, (0, 1), 20, context=0))
    probe = draw(rng, (0, 1), 10).latents
    provisional = cwr.publish().scores(probe)
    cwr.end_experience()
    np.testing.assert_array_equal(cwr.publish().scores(probe), provisional)


def test_a_context_limits_what_is_served(rng):
    cwr = make("cwr", softmax_over="context", learning_rate=0.5)
    for context, classes in enumerate(((0, 1), (2, 3))):
        teach(cwr, draw(rng, classes, 60, context=context))
        cwr.end_experience()
    for context, classes in enumerate(((0, 1), (2, 3))):
        assert accuracy(cwr, draw(rng, classes, 100), context) > 0.95


@pytest.mark.parametrize("check", QUICK_CHECKS, ids=lambda check: check.__name__)
def test_conforms(check):
    conforms("cwr", check, hidden=(6,), experience_samples=7, momentum=0.5, learning_rate=0.1)
