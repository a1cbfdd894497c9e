from __future__ import annotations

import numpy as np
import pytest

from edge_cl.options import parse_options
from edge_cl.projection import StructuredProjection, walsh_hadamard
from edge_cl.strategies.ranpac import GRID, RanPAC, RanPACOptions
from edge_cl.types import Batch, LatentSpec


def build(**options) -> RanPAC:
    parsed = parse_options(RanPACOptions, options, strategy="ranpac")
    return RanPAC(LatentSpec(6), parsed, seed=1, allowed_bytes=1 << 20)


def samples(count: int, classes: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, 6))
    labels = rng.integers(0, classes, count)
    return (centres[labels] + rng.normal(0, 0.3, (count, 6))).astype(np.float32), labels


def taught(latents, labels, step: int = 7, **options) -> RanPAC:
    strategy = build(**options)
    strategy.grow(int(labels.max()) + 1, 0, 1 << 20)
    for start in range(0, len(labels), step):
        part = slice(start, start + step)
        strategy.observe(Batch.of(latents[part], labels[part]))
    return strategy


def test_it_is_the_ridge_solution_of_all_samples():
    latents, labels = samples(200)
    strategy = taught(latents, labels, width=20, ridge=1e-2, precision="float64")
    features = strategy.features(strategy.normalise(latents))
    gram = features.T @ features
    targets = np.eye(3)[labels]
    expected = np.linalg.solve(gram + 1e-2 * np.trace(gram) / 20 * np.eye(20), features.T @ targets)
    strategy.settle()
    np.testing.assert_allclose(strategy.coefficients, expected.T, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("order", ["by class", "reversed", "shuffled"])
def test_the_order_of_samples_does_not_matter(order):
    latents, labels = samples(300)
    rows = {
        "by class": np.argsort(labels, kind="stable"),
        "reversed": np.arange(300)[::-1],
        "shuffled": np.random.default_rng(5).permutation(300),
    }[order]
    one = taught(latents, labels, width=20, ridge=1e-2, precision="float64")
    other = taught(latents[rows], labels[rows], width=20, ridge=1e-2, precision="float64")
    one.settle()
    other.settle()
    probe = one.normalise(latents[:50])
    np.testing.assert_allclose(one.scores(probe), other.scores(probe), atol=1e-6)


def test_the_holdout_is_taken_out_of_the_sums():
    latents, labels = samples(200)
    strategy = taught(latents, labels, width=20, holdout_samples=32, codec="float32")
    kept = strategy.memories["holdout"].all()
    held = {row.tobytes() for row in kept.latents}
    rest = np.array([row.tobytes() not in held for row in latents])
    features = strategy.features(strategy.normalise(latents[rest]))
    targets = np.eye(3)[labels[rest]]
    test_features = strategy.features(strategy.normalise(kept.latents))
    errors = []
    for ridge in GRID:
        gram = features.T @ features
        scale = np.trace(gram) / 20
        solved = np.linalg.solve(gram + ridge * scale * np.eye(20), features.T @ targets)
        errors.append(((test_features @ solved - np.eye(3)[kept.classes]) ** 2).mean())
    assert strategy.best_ridge() == pytest.approx(GRID[int(np.argmin(errors))])


def test_the_projection_stands_for_gaussian_rows():
    project = StructuredProjection(20, 4000, seed=2)
    rows = np.random.default_rng(0).normal(size=(2, 20)).astype(np.float32)
    out = project(rows)
    # Rows of a Gaussian matrix give outputs of variance |x|^2, and keep inner products.
    gram = out @ out.T / 4000
    np.testing.assert_allclose(gram, rows @ rows.T, rtol=0.1, atol=1.5)
    np.testing.assert_array_equal(out, StructuredProjection(20, 4000, seed=2)(rows))
    dense = project(np.eye(20, dtype=np.float32))
    np.testing.assert_allclose(rows @ dense, out, atol=1e-4)


def test_the_fast_transform_is_the_hadamard_matrix():
    matrix = np.array([[1]])
    for _ in range(3):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    rows = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    np.testing.assert_allclose(walsh_hadamard(rows), rows @ matrix, atol=1e-5)
