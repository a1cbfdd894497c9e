"""What is kept of every class, against the formulas of a whole data set."""

from __future__ import annotations

import numpy as np
import pytest

from edge_cl.errors import CheckpointError
from edge_cl.unknown import ClassStatistics
from edge_cl.unknown.statistics import BUDGET_PART, PRIOR, WIDTH, distances

AMPLE = 1 << 20
CLASSES = np.array([0, 1, 0, 2, 2, 2, 1, 0])


def rows(dim=6, seed=0):
    return np.random.default_rng(seed).normal(1, 2, (len(CLASSES), dim)).astype(np.float32)


def taught(latents, classes=CLASSES, streams=False):
    statistics = ClassStatistics(latents.shape[1], streams=streams)
    statistics.grow(3, AMPLE)
    statistics.add(latents, classes)
    return statistics


def test_means_and_precision_are_those_of_all_samples():
    latents = rows()
    statistics = taught(latents)
    means = np.stack([latents[c == CLASSES].mean(axis=0) for c in range(3)])
    np.testing.assert_allclose(statistics.means(), means, rtol=1e-5)
    within = ((latents - means[CLASSES]) ** 2).sum(axis=0) / (8 - 3)
    np.testing.assert_allclose(
        statistics.precision(), 1 / (within + PRIOR * within.mean()), rtol=1e-4
    )


def test_distances_are_mean_weighted_squares():
    latents, means = rows(), rows(seed=1)[:3]
    precision = np.linspace(0.5, 2, 6).astype(np.float32)
    expected = [[((x - m) ** 2 * precision).mean() for m in means] for x in latents]
    np.testing.assert_allclose(distances(latents, means, precision), expected, rtol=1e-4)
    means[1] = np.inf
    assert np.isinf(distances(latents, means, precision)[:, 1]).all()


def test_of_wide_latents_every_kth_value_counts():
    latents = rows(dim=3 * WIDTH - 1)
    statistics = taught(latents)
    assert statistics.means().shape == (3, WIDTH)
    expected = latents[CLASSES == 2][:, ::3].mean(axis=0)
    np.testing.assert_allclose(statistics.means()[2], expected, rtol=1e-5)


def test_one_by_one_is_the_same_as_all_at_once():
    latents = rows()
    one = ClassStatistics(6, streams=True)
    one.grow(3, AMPLE)
    for n in range(len(latents)):
        one.add(latents[n : n + 1], CLASSES[n : n + 1])
    other = taught(latents, streams=True)
    for name, array in one.arrays().items():
        assert array.tobytes() == other.arrays()[name].tobytes(), name
    assert one.moments[0] == 5, "every sample but the first of each class was a test"


def test_what_is_taken_out_was_never_there():
    latents = rows()
    less = taught(latents)
    less.remove(latents[5:], CLASSES[5:])
    never = taught(latents[:5], CLASSES[:5])
    np.testing.assert_allclose(less.means(), never.means(), atol=1e-6)
    np.testing.assert_allclose(less.precision(), never.precision(), rtol=1e-4)


def test_a_sample_without_its_latent_leaves_means_and_variances():
    statistics = taught(rows())
    means, precision = statistics.means(), statistics.precision()
    statistics.remove(None, np.array([2]))
    assert statistics.counts.tolist() == [3, 2, 2]
    np.testing.assert_allclose(statistics.means(), means, rtol=1e-5)
    np.testing.assert_allclose(statistics.precision(), precision, rtol=1e-4)


def test_a_class_is_cleared_and_merged():
    latents = rows()
    statistics = taught(latents)
    precision = statistics.precision()
    statistics.clear(1)
    assert np.isinf(statistics.means()[1]).all()
    np.testing.assert_allclose(statistics.precision(), precision, rtol=1e-4)
    merged = taught(latents)
    merged.merge(0, 2)
    joined = latents[CLASSES != 1].mean(axis=0)
    np.testing.assert_allclose(merged.means()[2], joined, rtol=1e-5)
    assert merged.counts.tolist() == [0, 2, 6]


def test_bytes_are_those_of_the_arrays_and_of_the_published_copy():
    statistics = taught(rows())
    held = sum(array.nbytes for array in statistics.arrays().values())
    published = statistics.means().nbytes + statistics.precision().nbytes
    assert held + published <= statistics.bytes_for(3, AMPLE) <= held + published + 800


def test_damaged_arrays_are_refused():
    arrays = taught(rows()).arrays()
    with pytest.raises(CheckpointError, match="counts"):
        ClassStatistics(6, streams=False).restore(
            {**arrays, "statistics/counts": np.zeros(2, dtype=np.int64)}, 3, AMPLE
        )


def test_a_small_budget_keeps_fewer_values_as_if_they_had_been_all():
    latents = rows(dim=WIDTH)
    statistics = taught(latents)
    budget = statistics.bytes_for(3, AMPLE) * BUDGET_PART - 1
    statistics.grow(3, budget)
    assert statistics.bytes_for(3, budget) * BUDGET_PART <= budget
    direct = taught(latents[:, ::2])
    np.testing.assert_array_equal(statistics.means(), direct.means())
    np.testing.assert_array_equal(statistics.precision(), direct.precision())
    np.testing.assert_array_equal(statistics.picked(latents), latents[:, ::2])


def test_values_are_halved_as_classes_come_and_never_below_the_least():
    statistics = ClassStatistics(512, streams=False)
    widths = []
    for classes in range(1, 400):
        statistics.grow(classes, 1 << 17)
        held = sum(array.nbytes for array in statistics.arrays().values())
        assert statistics.bytes_for(classes, 1 << 17) >= held
        widths.append(statistics.width)
    assert sorted(set(widths), reverse=True) == [128, 64, 32, 16, 8]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("budget", [AMPLE, 1 << 14])
def test_saved_values_are_restored_or_given_up_under_a_smaller_budget(budget):
    latents = rows(dim=WIDTH)
    saved, restored = taught(latents), ClassStatistics(WIDTH, streams=False)
    restored.grow(0, budget)
    restored.restore(saved.arrays(), 3, budget)
    saved.grow(3, budget)
    assert restored.stride == saved.stride
    for name, array in saved.arrays().items():
        np.testing.assert_array_equal(restored.arrays()[name], array)


def test_the_least_budget_holds_the_statistics_too():
    statistics = ClassStatistics(512, streams=False)
    for other in (100, 5_000, 50_000):
        budget = statistics.budget_with(other)
        assert budget - statistics.bytes_for(0, budget) >= other
