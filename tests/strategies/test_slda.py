from __future__ import annotations

import numpy as np
import pytest

from edge_cl.options import parse_options
from edge_cl.strategies.slda import SLDA, SLDAOptions
from edge_cl.types import Batch, LatentSpec


def taught(latents, labels, step: int = 5, shrinkage: float = 1e-2, **more) -> SLDA:
    options = parse_options(
        SLDAOptions, {"shrinkage": shrinkage, "normalise": "none", **more}, strategy="slda"
    )
    strategy = SLDA(LatentSpec(latents.shape[1]), options, allowed_bytes=1 << 20)
    strategy.grow(int(labels.max()) + 1, 0, 1 << 20)
    for start in range(0, len(labels), step):
        part = slice(start, start + step)
        strategy.observe(Batch.of(latents[part], labels[part]))
    strategy.settle()
    return strategy


def samples(count: int = 240, dim: int = 7, classes: int = 4):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(dim, dim))
    labels = rng.integers(0, classes, count)
    latents = rng.normal(size=(classes, dim))[labels] * 2 + rng.normal(size=(count, dim)) @ mixing
    return latents.astype(np.float32), labels


def test_it_is_batch_linear_discriminant_analysis():
    discriminant = pytest.importorskip("sklearn.discriminant_analysis")
    latents, labels = samples()
    reference = discriminant.LinearDiscriminantAnalysis(solver="lsqr").fit(latents, labels)
    ours = taught(latents, labels, shrinkage=1e-9).scores(latents)
    # Ours has equal priors, and leaves out what all classes of a sample have in common.
    theirs = reference.decision_function(latents) - np.log(reference.priors_)
    np.testing.assert_allclose(
        ours - ours.mean(axis=1, keepdims=True),
        theirs - theirs.mean(axis=1, keepdims=True),
        rtol=1e-3,
        atol=1e-3,
    )


def test_the_covariance_is_the_pooled_one_within_classes():
    latents, labels = samples()
    deviations = np.concatenate(
        [latents[labels == c] - latents[labels == c].mean(axis=0) for c in range(4)]
    )
    np.testing.assert_allclose(
        taught(latents, labels).covariance(), deviations.T @ deviations / len(latents), rtol=1e-4
    )


@pytest.mark.parametrize("order", ["by class", "reversed", "shuffled"])
def test_the_order_of_samples_does_not_matter(order):
    latents, labels = samples()
    rows = {
        "by class": np.argsort(labels, kind="stable"),
        "reversed": np.arange(len(labels))[::-1],
        "shuffled": np.random.default_rng(5).permutation(len(labels)),
    }[order]
    one, other = taught(latents, labels), taught(latents[rows], labels[rows], step=1)
    np.testing.assert_allclose(one.covariance(), other.covariance(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-10)


def test_double_precision_makes_scores_equal_in_any_order():
    latents, labels = samples()
    one = taught(latents, labels, precision="float64")
    for rows in (np.argsort(labels, kind="stable"), np.arange(len(labels))[::-1]):
        other = taught(latents[rows], labels[rows], step=7, precision="float64")
        assert other.scatter.dtype == np.float64
        np.testing.assert_allclose(other.scatter, one.scatter, rtol=1e-12, atol=1e-10)
        scores = one.scores(latents)
        assert np.abs(other.scores(latents) - scores).max() <= 1e-6 * np.abs(scores).max()


def test_a_sample_adds_nothing_to_the_scatter_of_a_class_it_opens():
    strategy = taught(np.float32([[3, 4]]), np.array([0]))
    np.testing.assert_array_equal(strategy.scatter, 0)
