"""Predictions explained by what is remembered."""

from __future__ import annotations

import numpy as np
import pytest

from edge_cl import Learner
from edge_cl.errors import InvalidLatent

DIM = 12


def rows(count, seed):
    return np.random.default_rng(seed).uniform(0, 1, (count, DIM)).astype(np.float32)


def taught(strategy="replay", count=600, **options):
    learner = Learner.create(
        strategy=strategy, dim=DIM, memory_budget="256KiB", options={"codec": "float32", **options}
    )
    latents = rows(count, 0)
    labels = [f"class {n % 7}" for n in range(count)]
    learner.learn_latents(latents, labels, ids=range(1000, 1000 + count))
    return learner, latents, labels


@pytest.mark.parametrize("normalise", ["none", "power_l2"])
def test_they_are_those_of_an_exhaustive_search(normalise):
    learner, latents, labels = taught(normalise=normalise)
    asked = rows(5, 1)

    def unit(x):
        x = np.sqrt(x) if normalise == "power_l2" else x
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    cosines = unit(asked) @ unit(latents).T
    for found, expected in zip(learner.nearest(asked, 4), cosines, strict=True):
        best = np.argsort(-expected)[:4]
        assert [one.sample_id for one in found] == (1000 + best).tolist()
        assert [one.label for one in found] == [labels[n] for n in best]
        np.testing.assert_allclose([one.similarity for one in found], expected[best], atol=1e-5)


def test_what_was_taught_is_nearest_to_itself():
    learner, latents, _ = taught(codec="uint8")
    found = learner.nearest(latents[[3, 500]], 1)
    assert [one[0].sample_id for one in found] == [1003, 1500]
    assert all(one[0].similarity > 0.999 for one in found)


def test_there_are_no_more_than_are_remembered():
    learner, *_ = taught(count=3)
    assert len(learner.nearest(rows(1, 2), 20)[0]) == 3
    assert learner.nearest(rows(1, 2), 0) == [[]]
    without = Learner.create(strategy="ncm", dim=DIM, memory_budget="64KiB")
    without.learn_latents(rows(3, 0), ["a", "b", "a"])
    assert without.nearest(rows(2, 2), 3) == [[], []]


def test_wrong_latents_are_refused():
    learner, *_ = taught(count=3)
    with pytest.raises(InvalidLatent):
        learner.nearest(np.zeros((1, DIM + 1), np.float32), 1)
