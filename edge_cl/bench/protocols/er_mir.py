"""Split MNIST online after Aljundi et al. 2019: five tasks of 1,000 samples, each seen once.

Batches of 10 new samples and 10 replayed ones, plain SGD at 0.1 (the two mean gradients
are added), an MLP 784-400-400 whose softmax is over all digits so far, and 500 exemplars.
Which task a test sample belongs to is not told. Any strategy can be a row of it.

References
----------
R. Aljundi et al., Online continual learning with maximally interfered retrieval,
NeurIPS 2019, arXiv:1908.04742, table 1.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_cl.bench.datasets import mnist
from edge_cl.bench.protocols.van_de_ven import ALLOWED_BYTES, Row, Split, forgetting
from edge_cl.options import parse_options
from edge_cl.strategies import find
from edge_cl.strategy import Strategy
from edge_cl.types import LatentSpec

SAMPLES_A_TASK = 1000
BATCH = 10
COMMON: Mapping[str, Any] = {
    "normalise": "none",
    "hidden": (400, 400),
    "learning_rate": 0.1,
    "batch_size": BATCH,
    "replay_batch": BATCH,
    "memory_samples": 500,
}
QUICK: Mapping[str, Any] = {"hidden": (100,), "memory_samples": 100}
QUICK_SAMPLES_A_TASK = 300
QUICK_POOLS = 5000, 2000

# Where new samples and exemplars share one mean, twice the rate makes each weigh as it
# does where two means are added.
SHARED_MEAN = {"learning_rate": 0.2}

ROWS: dict[str, Row] = {
    "naive": Row("naive", {}, 19.0, 17, 21),
    "er": Row("mir", {"candidates": BATCH}, 82.1, 82, 86),
    "mir": Row("mir", {}, 87.6, 86, 89),
    "replay": Row("replay", {**SHARED_MEAN, "selection": "reservoir"}),
    "derpp": Row("derpp", {}),
    "exstream": Row("exstream", SHARED_MEAN),
    "remind": Row("remind", SHARED_MEAN),
    "gdumb": Row("gdumb", {"passes": 128, "learning_rate": 0.05, "train_batch": 16}),
    "gem": Row("gem", {"samples_per_context": 100}),
    "ensemble": Row("ensemble", {}),
    "cumulative": Row("cumulative", {"memory_samples": 5000, "train_batch": BATCH}),
    "joint": Row("joint", {"memory_samples": 5000, "train_batch": BATCH}),
}
"""Method → row. `er` is `mir` with as many candidates as are replayed: random replay."""


def run(method: str, seed: int, quick: bool = False) -> dict[str, Any]:
    """One row with one seed, which draws the samples, their order and the weights.

    Parameters
    ----------
    method
        A key of `ROWS`.
    seed
        Of everything random; tasks are 0/1, 2/3, … as published.
    quick
        Seconds instead of minutes: a smaller head and memory, fewer samples.

    Returns
    -------
    `accuracy` is the mean over tasks after the last one, `forgetting` Chaudhry et al.'s,
    `matrix` the accuracy on every task so far after each task; all as fractions.
    """
    digits = mnist()
    if quick:
        digits = digits.part(*QUICK_POOLS)
    rng = np.random.Generator(np.random.PCG64(seed))
    split = Split(digits, np.arange(digits.classes).reshape(5, 2), knows_task=False)
    learner = make_strategy(ROWS[method], digits.spec, seed, quick)
    start_as_published(learner)
    count = QUICK_SAMPLES_A_TASK if quick else SAMPLES_A_TASK
    matrix, seconds = [], 0.0
    for task in range(5):
        samples = split.train(task)
        samples = samples[rng.permutation(len(samples))[:count]]
        learner.grow(2 * task + 2, task + 1, ALLOWED_BYTES)
        begun = time.perf_counter()
        learner.observe(samples)
        learner.end_experience()
        seconds += time.perf_counter() - begun
        matrix.append(split.accuracies(learner, task + 1))
    return {
        "protocol": "er_mir",
        "method": method,
        "strategy": learner.name,
        "options": learner.options.model_dump(mode="json"),
        "seed": seed,
        "quick": quick,
        "accuracy": float(np.mean(matrix[-1])),
        "forgetting": forgetting(matrix),
        "matrix": matrix,
        "state_bytes": sum(learner.ledger().values()),
        "microseconds_a_sample": 1e6 * seconds / (5 * count),
    }


def make_strategy(row: Row, spec: LatentSpec, seed: int, quick: bool = False) -> Strategy:
    """The row's strategy, with those of the common options that it has."""
    kind = find(row.strategy)
    options = {**COMMON, **(QUICK if quick else {})}
    options = {name: v for name, v in options.items() if name in kind.options_type.model_fields}
    parsed = parse_options(kind.options_type, {**options, **row.options}, strategy=row.strategy)
    return kind(spec, parsed, seed=seed, allowed_bytes=ALLOWED_BYTES)


def start_as_published(learner: Strategy) -> None:
    """Shrink the hidden layers to the published code's initial scale.

    It draws weights from U(-1/sqrt(n), 1/sqrt(n)) for n inputs, this project from an
    interval sqrt(6) times as wide (He et al. 2015): with the latter, steps this long are
    not always stable.
    """
    weights = learner.arrays().get("weights")
    if weights is not None:
        weights *= np.float32(1 / np.sqrt(6))
