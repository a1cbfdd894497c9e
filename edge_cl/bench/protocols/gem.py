"""Permuted MNIST after Lopez-Paz & Ranzato 2017: 20 permutations, 1,000 samples of each.

Each sample is seen once, in batches of 10, by an MLP 784-100-100 trained with plain SGD at
0.1. GEM keeps the newest 256 samples of each permutation and has a margin of 0.5. The
rows beside it learn the same stream with the same bytes of exemplars.

References
----------
D. Lopez-Paz and M. Ranzato, Gradient episodic memory for continual learning, NeurIPS
2017, arXiv:1706.08840, figure 1 and table 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import numpy as np

from edge_cl.bench.datasets import mnist
from edge_cl.bench.protocols.van_de_ven import ALLOWED_BYTES, Row
from edge_cl.bench.streams import Samples, Stream, permuted
from edge_cl.options import parse_options
from edge_cl.strategies import find
from edge_cl.strategy import Strategy
from edge_cl.types import Batch

CONTEXTS = 20
SAMPLES = 1000
KEPT = 256
COMMON: Mapping[str, Any] = {
    "normalise": "none",
    "hidden": (100, 100),
    "learning_rate": 0.1,
    "batch_size": 10,
    "memory_samples": CONTEXTS * KEPT,
    "samples_per_context": KEPT,
    "replay_batch": 10,
}
QUICK: Mapping[str, Any] = {"hidden": (40,), "samples_per_context": 30, "memory_samples": 150}
QUICK_POOLS = 3000, 500
QUICK_CONTEXTS, QUICK_SAMPLES = 5, 300

ROWS: dict[str, Row] = {
    "gem": Row("gem", {}, 83, 80),
    "naive": Row("naive", {}),
    "replay": Row("replay", {"learning_rate": 0.2, "selection": "reservoir"}),
    "derpp": Row("derpp", {}),
    "mir": Row("mir", {}),
}
"""Method → row."""


def run(method: str, seed: int, quick: bool = False) -> dict[str, Any]:
    """One row with one seed: of the permutations, the samples, their order, the weights.

    Parameters
    ----------
    method
        A key of `ROWS`.
    seed
        Of everything random.
    quick
        Seconds instead of minutes: fewer permutations and samples, a smaller head.

    Returns
    -------
    `accuracy` is the mean over all permutations after the last one (the paper's ACC) and
    `backward_transfer` its BWT; both as fractions.
    """
    digits = mnist()
    if quick:
        digits = digits.part(*QUICK_POOLS)
    count, samples = (QUICK_CONTEXTS, QUICK_SAMPLES) if quick else (CONTEXTS, SAMPLES)
    stream = permuted(digits, count, samples=samples, seed=seed)
    learner = make_strategy(ROWS[method], stream, seed, quick)
    learner.grow(digits.classes, count, ALLOWED_BYTES)
    fresh, begun = [], perf_counter()
    for context, experience in enumerate(stream.experiences):
        learner.observe(Batch.of(experience.latents, experience.classes, context))
        learner.end_experience()
        fresh.append(accuracy(learner, stream.tests[context]))
    final = [accuracy(learner, test) for test in stream.tests]
    return {
        "protocol": "gem",
        "method": method,
        "strategy": learner.name,
        "options": learner.options.model_dump(mode="json"),
        "seed": seed,
        "quick": quick,
        "accuracy": float(np.mean(final)),
        "backward_transfer": float(np.mean(np.subtract(final, fresh)[:-1])),
        "final": final,
        "state_bytes": sum(learner.ledger().values()),
        "seconds": perf_counter() - begun,
    }


def make_strategy(row: Row, stream: Stream, seed: int, quick: bool) -> Strategy:
    """The row's strategy, with those of the common options that it has."""
    kind = find(row.strategy)
    options = {**COMMON, **(QUICK if quick else {})}
    options = {name: v for name, v in options.items() if name in kind.options_type.model_fields}
    parsed = parse_options(kind.options_type, {**options, **row.options}, strategy=row.strategy)
    return kind(stream.spec, parsed, seed=seed, allowed_bytes=ALLOWED_BYTES)


def accuracy(learner: Strategy, test: Samples) -> float:
    """Share of `test` that the learner's head gets right; which permutation is not told."""
    served = learner.publish()
    scores = served.scores(served.normalise(test.latents))
    return float((scores.argmax(axis=1) == test.classes).mean())
