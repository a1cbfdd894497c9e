"""The measure of what tells the unknown, on a data set of known separability."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from click.testing import CliRunner

from edge_cl.bench import datasets
from edge_cl.bench.datasets import Dataset
from edge_cl.bench.unknown import auroc, calibration_error, unknown
from edge_cl.types import LatentSpec


def clusters():
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, 2, (6, 16))
    classes = np.repeat(np.arange(6), 40)
    latents = np.abs(centres[classes] + rng.normal(0, 0.2, (240, 16))).astype(np.float32)
    labels = tuple("abcdef")
    return Dataset("clusters", LatentSpec(16), labels, latents, classes, latents[::2], classes[::2])


def test_auroc_counts_pairs():
    rng = np.random.default_rng(0)
    values, positive = rng.integers(0, 5, 60).astype(float), rng.random(60) < 0.4
    pairs = list(product(values[positive], values[~positive]))
    expected = np.mean([(p > n) + 0.5 * (p == n) for p, n in pairs])
    assert auroc(values, positive) == pytest.approx(100 * expected)


def test_calibration_error_of_a_worked_example():
    """Two bins: sure and right half the time; unsure and always right."""
    probabilities = np.array([[1.0, 0], [1, 0], [0.55, 0.45], [0.55, 0.45]], np.float32)
    assert calibration_error(probabilities, np.array([0, 1, 0, 0])) == pytest.approx(
        0.5 * 0.5 + 0.5 * 0.45, abs=1e-6
    )


def test_the_report_has_every_rule(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "latents", lambda *_: clusters())
    done = CliRunner().invoke(
        unknown,
        ["--taught", "3", "--splits", "2", "--samples", "20", "--output", str(tmp_path)],
    )
    assert done.exit_code == 0, done.output
    page = (tmp_path / "unknown-cifar10-ar1.md").read_text()
    for rule in ("max_softmax", "relative_mahalanobis", "nearest_exemplar", "familiarity"):
        assert f"AUROC, {rule} |" in page
    assert "called unknown though taught" in page
