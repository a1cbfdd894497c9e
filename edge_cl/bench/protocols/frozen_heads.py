"""Heads on frozen features: CIFAR-100 latents, all images, one pass, class after class.

50,000 training and 10,000 test images under `mobilenet_v1_0.5_160_int8`. The methods
keep sums, so that the order of samples must not matter: a row named ``…-orders`` learns
them class by class, in the reversed order, and shuffled, and records the largest
difference of any test score between the orders, as part of the largest score. Ridge is
RanPAC's solution without its random projection. The logistic regression sees all latents
at once; its regularisation is chosen without the test images.

The published relation, on other features, is nearest class mean < ridge or discriminant
analysis < random projection and ridge, the last at or above a linear probe trained on all
data at once. The seed draws the projection.

References
----------
M. D. McDonnell et al., RanPAC: random projections and pre-trained models for continual
learning, NeurIPS 2023, arXiv:2307.02251, table 1; T. L. Hayes and C. Kanan, Lifelong
machine learning with deep streaming linear discriminant analysis, arXiv:1909.01520.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from time import process_time
from typing import Any

import numpy as np

from edge_cl.bench.bounds import HELD_OUT, logistic_accuracy
from edge_cl.bench.datasets import Dataset, latents
from edge_cl.bench.protocols.van_de_ven import Row
from edge_cl.equations import one_hot, power_l2
from edge_cl.learner import Learner
from edge_cl.types import Float32, Int64

BUDGET = "1GiB"
QUICK_POOLS = 2000, 1000
CALL_SAMPLES = 1000
BATCH: Mapping[str, Any] = {"batch_size": CALL_SAMPLES}
EXACT: Mapping[str, Any] = {"precision": "float64", **BATCH}
RANPAC: Mapping[str, Any] = {"width": 2000, "ridge": 1e-3}
RIDGES = 10.0 ** np.arange(-6, 2)

ROWS: dict[str, Row] = {
    "ncm": Row("ncm", BATCH),
    "ridge": Row("ridge", {}),
    "slda": Row("slda", BATCH),
    "ranpac-1000": Row("ranpac", {"width": 1000, **BATCH}),
    "ranpac-2000": Row("ranpac", {"width": 2000, **BATCH}),
    "ranpac-4000": Row("ranpac", {"width": 4000, **BATCH}),
    "ranpac-10000": Row("ranpac", {"width": 10000, **BATCH}),
    "logistic": Row("logistic", {}),
    "slda-orders": Row("slda", EXACT),
    "slda-orders-float32": Row("slda", BATCH),
    "ranpac-orders": Row("ranpac", {**RANPAC, **EXACT}),
    "ranpac-orders-float32": Row("ranpac", {**RANPAC, **EXACT, "precision": "float32"}),
}
"""Method → row; nothing was published on these latents."""


def run(method: str, seed: int, quick: bool = False) -> dict[str, Any]:
    """One row with one seed.

    Parameters
    ----------
    method
        A key of `ROWS`.
    seed
        Of the learner, and of the shuffled order.
    quick
        2,000 training and 1,000 test images.

    Returns
    -------
    `accuracy` as a fraction; for ``…-orders`` also `largest_difference`.
    """
    row, dataset = ROWS[method], _dataset(quick)
    begun, state_bytes, difference = process_time(), 0, None
    if row.strategy == "logistic":
        accuracy = _logistic(quick)
    elif row.strategy == "ridge":
        accuracy = ridge_accuracy(dataset)
    else:
        orders = ORDERS if method.partition("-")[2].startswith("orders") else ("classes",)
        taught = [teach(dataset, row, order, seed) for order in orders]
        scores = [scores_of_tests(learner, dataset) for learner in taught]
        guesses = scores[0].argmax(axis=1)
        accuracy = float((guesses == dataset.test_classes).mean())
        state_bytes = sum(taught[0].ledger().values())
        if len(orders) > 1:
            largest = max(float(np.abs(scores[0] - other).max()) for other in scores[1:])
            difference = largest / float(np.abs(scores[0]).max())
    return {
        "protocol": "frozen_heads",
        "method": method,
        "strategy": row.strategy,
        "options": dict(row.options),
        "seed": seed,
        "quick": quick,
        "accuracy": accuracy,
        "largest_difference": difference,
        "state_bytes": state_bytes,
        "seconds": process_time() - begun,
    }


ORDERS = ("classes", "reversed", "shuffled")


def teach(dataset: Dataset, row: Row, order: str, seed: int) -> Learner:
    """A learner that met all training samples once, in an order of `ORDERS`."""
    learner = Learner.create(
        strategy=row.strategy,
        spec=dataset.spec,
        memory_budget=BUDGET,
        options=row.options,
        seed=seed,
    )
    rows = sample_order(dataset.train_classes, order, seed)
    for start in range(0, len(rows), CALL_SAMPLES):
        part = rows[start : start + CALL_SAMPLES]
        learner.learn_latents(
            dataset.train[part], [dataset.labels[c] for c in dataset.train_classes[part]]
        )
    return learner


def sample_order(classes: Int64, order: str, seed: int) -> Int64:
    """Row numbers class by class, the same backwards, or shuffled."""
    by_class: Int64 = np.argsort(classes, kind="stable")
    if order == "reversed":
        return by_class[::-1]
    return by_class if order == "classes" else np.random.default_rng(seed).permutation(by_class)


def scores_of_tests(learner: Learner, dataset: Dataset) -> Float32:
    """Scores (N, C) of all test samples, classes by number whatever order they came in."""
    published = learner.publish()
    strategy = published.strategy
    scores = strategy.scores(strategy.normalise(dataset.test_latents()))
    return scores[:, [published.labels.index(label) for label in dataset.labels]]


def ridge_accuracy(dataset: Dataset) -> float:
    """Test accuracy of a ridge regression on one-hot targets, chosen on held-out samples."""
    train = power_l2(dataset.train_latents()).astype(np.float64)
    targets = one_hot(dataset.train_classes, dataset.classes).astype(np.float64)
    held_out = np.zeros(len(train), np.bool_)
    held_out[np.random.default_rng(0).permutation(len(train))[::HELD_OUT]] = True

    def solution(rows: Any, ridge: float) -> Any:
        gram = train[rows].T @ train[rows]
        gram[np.diag_indices(len(gram))] += ridge * np.trace(gram) / len(gram)
        return np.linalg.solve(gram, train[rows].T @ targets[rows])

    def score(ridge: float) -> float:
        guesses = (train[held_out] @ solution(~held_out, ridge)).argmax(axis=1)
        return float((guesses == dataset.train_classes[held_out]).mean())

    best = max(RIDGES, key=score)
    test = power_l2(dataset.test_latents())
    guesses = (test @ solution(slice(None), best)).argmax(axis=1)
    return float((guesses == dataset.test_classes).mean())


def _dataset(quick: bool) -> Dataset:
    return latents("cifar100", train=QUICK_POOLS[0], test=QUICK_POOLS[1]) if quick else _all()


@lru_cache(maxsize=1)
def _all() -> Dataset:
    return latents("cifar100")


@lru_cache(maxsize=2)
def _logistic(quick: bool) -> float:
    return logistic_accuracy(_dataset(quick))
