"""Accuracy, confusion and calibration against scikit-learn and the papers' formulas."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edge_cl.monitoring import Tally
from edge_cl.monitoring.tally import MOST_CLASSES


def stream(classes, count, seed=0, right=0.7):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    guesses = np.where(rng.random(count) < right, labels, rng.integers(classes, size=count))
    return [f"c{n}" for n in labels], [f"c{n}" for n in guesses], rng.random(count)


def tally_of(labels, guesses, confidences):
    tally = Tally()
    for row in zip(labels, guesses, confidences, strict=True):
        tally.add(*row)
    return tally


def test_confusion_and_classes_equal_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    labels, guesses, confidences = stream(7, 900)
    report = tally_of(labels, guesses, confidences).report()
    names = report["confusion"]["labels"]
    assert set(names) == set(labels)
    expected = metrics.confusion_matrix(labels, guesses, labels=names)
    assert report["confusion"]["matrix"] == expected.tolist()
    assert report["accuracy"] == pytest.approx(metrics.accuracy_score(labels, guesses), abs=1e-6)
    precision, recall, _, support = metrics.precision_recall_fscore_support(
        labels, guesses, labels=names
    )
    for row, note in enumerate(report["per_class"]):
        assert note["label"] == names[row]
        assert note["samples"] == support[row]
        assert note["accuracy"] == pytest.approx(recall[row], abs=1e-6)
        assert note["precision"] == pytest.approx(precision[row], abs=1e-6)
    worst = report["confusion"]["most_confused"][0]
    assert worst["samples"] == (expected - np.diag(np.diag(expected))).max()


def test_calibration_error_is_that_of_the_formula():
    labels, guesses, confidences = stream(4, 500, seed=1)
    right = np.array(labels) == np.array(guesses)
    edges = np.linspace(0, 1, 16)
    error = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidences >= low) & (confidences < high)
        if inside.any():
            gap = abs(right[inside].mean() - confidences[inside].mean())
            error += inside.mean() * gap
    tally = tally_of(labels, guesses, confidences)
    assert tally.calibration_error() == pytest.approx(error, abs=1e-9)
    bins = tally.report()["calibration"]["bins"]
    assert sum(one["samples"] for one in bins) == 500


def test_a_confidence_of_one_is_counted():
    assert tally_of(["a"], ["a"], [1.0]).report()["calibration"]["ece"] == 0


def test_bytes_stay_bounded_when_classes_do_not():
    labels, guesses, confidences = stream(1000, 6000, seed=2)
    tally = tally_of(labels, guesses, confidences)
    assert tally.samples == 6000
    assert tally.correct == sum(np.array(labels) == np.array(guesses))
    assert tally.size_bytes < 300_000
    report = tally.report()
    assert len(report["per_class"]) == MOST_CLASSES + 1
    assert report["per_class"][-1]["label"] is None
    assert sum(note["correct"] for note in report["per_class"]) == tally.correct
    assert report["confusion"]["matrix"] is None
    assert len(report["confusion"]["most_confused"]) == 50


def test_nothing_is_no_number():
    report = Tally().report()
    assert report["accuracy"] is None
    assert report["calibration"]["ece"] is None
    assert report["per_class"] == []
