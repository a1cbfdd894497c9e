"""Metrics against values worked by hand."""

import math

import numpy as np
import pytest

from edge_cl.bench import metrics

#                    test 1  2    3
AFTER = np.array([[0.90, 0.10, 0.20],   # experience 1
                  [0.95, 0.80, 0.30],   # experience 2
                  [0.60, 0.70, 0.85]])  # experience 3  # fmt: skip
UNTRAINED = np.array([0.0, 0.05, 0.10])


def test_mean_accuracy():
    assert metrics.mean_accuracy(AFTER) == pytest.approx((0.60 + 0.70 + 0.85) / 3)


def test_backward_transfer_divides_by_one_less_than_the_experiences():
    assert metrics.backward_transfer(AFTER) == pytest.approx(((0.60 - 0.90) + (0.70 - 0.80)) / 2)


def test_forward_transfer_is_against_the_untrained_model():
    expected = ((0.10 - 0.05) + (0.30 - 0.10)) / 2
    assert metrics.forward_transfer(AFTER, UNTRAINED) == pytest.approx(expected)


def test_forgetting_is_from_the_best_not_from_the_first():
    assert metrics.forgetting(AFTER) == pytest.approx(((0.95 - 0.60) + (0.80 - 0.70)) / 2)


def test_average_incremental_accuracy():
    expected = (0.90 + (0.95 + 0.80) / 2 + (0.60 + 0.70 + 0.85) / 3) / 3
    assert metrics.average_incremental_accuracy(AFTER) == pytest.approx(expected)


def test_a_test_set_may_be_learned_at_any_experience():
    after = np.array([[0.5, 0.0], [0.4, 0.0], [0.6, 0.9], [0.3, 0.7]])
    learned_at = (0, 2)
    assert metrics.backward_transfer(after, learned_at) == pytest.approx((-0.2 - 0.2) / 2)
    assert metrics.forgetting(after, learned_at) == pytest.approx((0.3 + 0.2) / 2)
    assert metrics.forward_transfer(after, np.array([0.1, 0.2]), learned_at) == pytest.approx(-0.2)
    expected = (0.5 + 0.4 + 0.75 + 0.5) / 4
    assert metrics.average_incremental_accuracy(after, learned_at) == pytest.approx(expected)


def test_one_experience_has_nothing_to_forget():
    only = np.array([[0.5]])
    assert math.isnan(metrics.forgetting(only))
    assert math.isnan(metrics.backward_transfer(only))
    assert math.isnan(metrics.forward_transfer(only, np.array([0.0])))


def test_any_time_accuracy_weighs_by_the_samples_between():
    assert metrics.any_time_accuracy([10, 40], [0.2, 0.6]) == pytest.approx((2 + 18) / 40)


def test_prequential_accuracy():
    assert metrics.prequential_accuracy([True, False, True, True]) == 0.75
    # S: 1, 0.5, 1.25; B: 1, 1.5, 1.75
    assert metrics.prequential_accuracy([True, False, True], 0.5) == pytest.approx(1.25 / 1.75)


def test_omega_all():
    assert metrics.omega_all([0.4, 0.6], [0.8, 0.8]) == pytest.approx((0.5 + 0.75) / 2)
    assert metrics.omega_all([0.4, 0.6], 0.8) == pytest.approx(0.625)


def test_seen_accuracies_weigh_test_sets_by_size():
    found = metrics.seen_accuracies(np.array([[0.9, 0.0], [0.6, 0.8]]), [30, 10])
    assert found == pytest.approx([0.9, (30 * 0.6 + 10 * 0.8) / 40])
