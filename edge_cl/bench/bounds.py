"""What is possible offline: with all samples at once, as often as one likes."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from edge_cl.bench.datasets import Dataset
from edge_cl.bench.scenarios import Source
from edge_cl.bench.trial import one_thread
from edge_cl.equations import cross_entropy_gradient, power_l2
from edge_cl.errors import MissingExtra
from edge_cl.head import Head
from edge_cl.types import Float32, Int64

STRENGTHS = (3.0, 10.0, 30.0)
"""Inverse regularisations that are tried, for latents of unit length."""
HELD_OUT = 5
"""One in so many training samples is held out to choose the regularisation."""
CHOICE_SAMPLES = 12_500
"""Training samples at most for that choice."""
TOLERANCE = 1e-5
"""Largest gradient at the end. That of the mean loss is small from the start for short
latents and many classes: at 1e-3 a fit on 100 classes stops where it begins."""
HEAD_PASSES, HEAD_BATCH, HEAD_RATE = 30, 32, 2.0


def bound_of(source: Source, folder: Path) -> dict[str, Any]:
    """Both bounds of a source: read if they are there, else made and written."""
    words = [source.pack, Path(source.extractor).stem, source.train or "all", source.test or "all"]
    path = folder / f"bound-{'-'.join(map(str, words))}.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    dataset = source.dataset()
    with one_thread():
        bound = {
            "logistic": logistic_accuracy(dataset),
            "head": mean(head_accuracy(dataset, seed) for seed in range(3)),
            "train": len(dataset.train),
            "test": len(dataset.test),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(bound, indent=1) + "\n", encoding="utf-8")
    return bound


def logistic_accuracy(dataset: Dataset) -> float:
    """Test accuracy of a logistic regression on normalised latents.

    Its regularisation is chosen on a fifth of (at most `CHOICE_SAMPLES`) training
    samples, without the test samples, and it is then fitted to all of them.
    """
    train, test = power_l2(dataset.train_latents()), power_l2(dataset.test_latents())
    classes = dataset.train_classes
    drawn = np.random.default_rng(0).permutation(len(train))[:CHOICE_SAMPLES]
    held, kept = drawn[::HELD_OUT], np.setdiff1d(drawn, drawn[::HELD_OUT])
    scores = {
        strength: _score(strength, train[kept], classes[kept], train[held], classes[held])
        for strength in STRENGTHS
    }
    best = max(scores, key=lambda strength: scores[strength])
    return _score(best, train, classes, test, dataset.test_classes)


def head_accuracy(dataset: Dataset, seed: int = 0) -> float:
    """Test accuracy of the learners' own linear head, trained in shuffled passes.

    Its learning rate falls linearly to zero over the passes.
    """
    train, test = power_l2(dataset.train_latents()), power_l2(dataset.test_latents())
    rng = np.random.default_rng(seed)
    head = Head(dataset.spec.dim)
    weights = head.initial(dataset.classes, rng)
    for done in range(HEAD_PASSES):
        rate = np.float32(HEAD_RATE * (1 - done / HEAD_PASSES))
        order = rng.permutation(len(train))
        for start in range(0, len(order), HEAD_BATCH):
            rows = order[start : start + HEAD_BATCH]
            forward = head.forward(weights, train[rows])
            by_logits = cross_entropy_gradient(forward.logits, dataset.train_classes[rows])
            weights -= rate * head.gradient(weights, forward, by_logits)
    guesses = head.logits(weights, test).argmax(axis=1)
    return float((guesses == dataset.test_classes).mean())


def _score(
    strength: float, train: Float32, classes: Int64, test: Float32, test_classes: Int64
) -> float:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtra("the offline logistic regression", "bench") from error
    model = LogisticRegression(C=strength, max_iter=1000, tol=TOLERANCE).fit(train, classes)
    return float(model.score(test, test_classes))
