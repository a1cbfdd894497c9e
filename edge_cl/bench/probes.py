"""Probes of latents: how well simple classifiers tell classes apart by them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_cl.errors import MissingExtra
from edge_cl.types import Float32, Int64

STRENGTHS = (0.001, 0.01, 0.1)
"""Inverse regularisation of the probe; chosen on held-out training images."""


@dataclass(frozen=True)
class Measured:
    """A figure in per cent with half the width of its 95 % interval."""

    percent: float
    interval: float

    def __str__(self) -> str:
        return f"{self.percent:.2f} ± {self.interval:.2f}"


def remembered(path: Path | None, compute: Callable[[], Measured]) -> Measured:
    """A figure that was measured before under the same name, or else now."""
    if path and path.exists():
        return Measured(**json.loads(path.read_text()))
    figure = compute()
    if path:
        path.write_text(json.dumps(asdict(figure)))
    return figure


def probe(
    train: Float32, train_labels: Int64, test: Float32, test_labels: Int64, seed: int
) -> Measured:
    """Accuracy of a logistic regression on standardised latents.

    The regularisation is chosen on 5,000 training images that a fit on 15,000
    others has not seen; the final fit uses all training images.
    """
    mean, deviation = train.mean(0), train.std(0) + 1e-6
    train, test = (train - mean) / deviation, (test - mean) / deviation
    order = np.random.default_rng(seed).permutation(len(train))
    held_out, subset = order[:5000], order[5000:20000]
    if len(subset) < 1000:
        strength = STRENGTHS[1]
    else:
        scores = {
            c: logistic(train[subset], train_labels[subset], c).score(
                train[held_out], train_labels[held_out]
            )
            for c in STRENGTHS
        }
        strength = max(scores, key=lambda c: scores[c])
    accuracy = logistic(train, train_labels, strength).score(test, test_labels)
    interval = 1.96 * np.sqrt(accuracy * (1 - accuracy) / len(test))
    return Measured(100 * float(accuracy), 100 * float(interval))


def logistic(latents: Float32, labels: Int64, strength: float) -> Any:
    """A fitted logistic regression of scikit-learn."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as missing:
        raise MissingExtra("the linear probe (scikit-learn)", "bench") from missing
    return LogisticRegression(C=strength, max_iter=300, tol=1e-3).fit(latents, labels)


def episodes(
    latents: Float32, labels: Int64, seed: int, ways: int = 5, shots: int = 5,
    queries: int = 15, count: int = 600,
) -> Measured:  # fmt: skip
    """Mean accuracy of the nearest class mean over random few-shot episodes.

    Latents are scaled to length one, and so are the class means.
    """
    rng = np.random.default_rng(seed)
    unit = latents / (np.linalg.norm(latents, axis=1, keepdims=True) + 1e-9)
    by_class = {c: np.flatnonzero(labels == c) for c in np.unique(labels)}
    classes = [c for c, rows in by_class.items() if len(rows) > shots]
    accuracies = []
    for _ in range(count):
        chosen = rng.choice(classes, ways, replace=False)
        drawn = [rng.permutation(by_class[c])[: shots + queries] for c in chosen]
        means = np.stack([unit[rows[:shots]].mean(0) for rows in drawn])
        means /= np.linalg.norm(means, axis=1, keepdims=True) + 1e-9
        guesses = [(unit[rows[shots:]] @ means.T).argmax(1) == k for k, rows in enumerate(drawn)]
        accuracies.append(np.concatenate(guesses).mean())
    interval = 1.96 * np.std(accuracies, ddof=1) / np.sqrt(count)
    return Measured(100 * float(np.mean(accuracies)), 100 * float(interval))


def standardised(latents: Float32, count: int) -> Float32:
    """Latents with mean 0 and deviation 1 over the first `count`."""
    first = latents[:count]
    scaled: Float32 = (latents - first.mean(0)) / (first.std(0) + 1e-6)
    return scaled
