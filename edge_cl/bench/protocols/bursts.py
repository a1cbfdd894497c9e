"""Bursts of a single class on CIFAR-10 latents, after CORe50's NICv2.

The first experience has two classes with 500 images each; then come bursts of 300 images
of one class, in random order, until every training image was shown. Each burst is trained
in `PASSES` passes over batches of 21 new latents; methods with replay add 107 old ones to
each, and offer the burst to their memory in its last pass. Nobody tells the class count
beforehand, and no context is given. Accuracy is on all 10,000 test images.

References
----------
V. Lomonaco, D. Maltoni and L. Pellegrini, Rehearsal-free continual learning over small
non-i.i.d. batches, CVPR-W 2020 (the stream); L. Pellegrini et al., Latent replay for
real-time continual learning, IROS 2020 (21 new and 107 replayed in a batch).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_cl import strategies
from edge_cl.bench.datasets import Dataset, latents
from edge_cl.bench.protocols.van_de_ven import Row
from edge_cl.bench.streams import Samples, Stream
from edge_cl.bench.streams import bursts as burst_stream
from edge_cl.options import parse_options
from edge_cl.strategy import Strategy
from edge_cl.types import Batch, Int64

PASSES = 4
NEW = 21
REPLAYED = 107
MEMORY_SAMPLES = 500
ALLOWED_BYTES = 1 << 30
QUICK_IMAGES = 3000, 1000
COMMON: Mapping[str, Any] = {"batch_size": NEW, "retrieval": "uniform", "first_steps": 1}
"""As published, whatever a strategy's defaults for streams of single samples are."""
REPLAY: Mapping[str, Any] = {
    "memory_samples": MEMORY_SAMPLES,
    "replay_batch": REPLAYED,
    "codec": "uint8",
    "selection": "share",
}
CWR: Mapping[str, Any] = {"experience_samples": None}
AR1: Mapping[str, Any] = {**CWR, "hidden": (128,)}
ALONE: Mapping[str, Any] = {**REPLAY, **AR1, "memory_samples": 1, "replay_batch": 1}


ROWS: dict[str, Row] = {
    "naive": Row("naive", {"learning_rate": 0.1}),
    "cwr": Row("cwr", {**CWR, "learning_rate": 5.0}),
    "replay": Row("replay", {**REPLAY, "learning_rate": 20.0}),
    "cwr_replay": Row("ar1", {**REPLAY, **CWR, "learning_rate": 20.0}),
    "ar1": Row("ar1", {**REPLAY, **AR1, "learning_rate": 0.5}),
    "ar1_batch_norm": Row("ar1", {**REPLAY, **AR1, "norm": "batch", "learning_rate": 0.02}),
    "ar1_batch_renorm": Row(
        "ar1", {**REPLAY, **AR1, "norm": "batch_renorm", "learning_rate": 0.02}
    ),
    "ar1_alone": Row("ar1", {**ALONE, "learning_rate": 0.5}),
    "ar1_alone_batch_norm": Row("ar1", {**ALONE, "norm": "batch", "learning_rate": 0.02}),
    "ar1_alone_batch_renorm": Row("ar1", {**ALONE, "norm": "batch_renorm", "learning_rate": 0.02}),
}
"""Method → row; `cwr_replay` is AR1 on a linear head, `alone` has next to no replay.

Learning rates are the best of 0.1, 0.5, 2, 5 and 20 (`ar1`: of 0.1 to 2; normalised heads: of
0.02 and 0.1) on 4,000 held-out training images of one order, seed 7.
"""


def run(method: str, seed: int, quick: bool = False) -> dict[str, Any]:
    """One method on one order of bursts.

    Parameters
    ----------
    method
        A key of `ROWS`.
    seed
        Of the strategy and the order of the stream.
    quick
        Seconds: fewer images, shorter bursts.

    Returns
    -------
    `accuracy` after the last burst; `curve` has it after every tenth of the bursts.
    """
    dataset = (
        latents("cifar10", train=QUICK_IMAGES[0], test=QUICK_IMAGES[1]) if quick else latents()
    )
    return run_on(dataset, method, seed, quick)


def run_on(dataset: Dataset, method: str, seed: int, quick: bool = False) -> dict[str, Any]:
    """As `run`, on any latents."""
    row = ROWS[method]
    sizes = {"first_samples": 50, "burst_samples": 30} if quick else {}
    stream = burst_stream(dataset, seed=seed, **sizes)
    kind = strategies.find(row.strategy)
    known = kind.options_type.model_fields
    chosen = {name: value for name, value in COMMON.items() if name in known} | dict(row.options)
    options = parse_options(kind.options_type, chosen, strategy=row.strategy)
    learner = kind(dataset.spec, options, seed=seed, allowed_bytes=ALLOWED_BYTES)
    rng, begun = np.random.Generator(np.random.PCG64(seed)), time.perf_counter()
    number = arrival(stream, dataset.classes)
    every, curve = max(1, len(stream.experiences) // 10), []
    for n, burst in enumerate(stream.experiences, 1):
        learn_burst(learner, burst, number, rng)
        if n % every == 0 or n == len(stream.experiences):
            curve.append([n, accuracy(learner, stream, number)])
    return {
        "protocol": "bursts",
        "method": method,
        "strategy": row.strategy,
        "options": learner.options.model_dump(mode="json"),
        "seed": seed,
        "quick": quick,
        "accuracy": curve[-1][1],
        "curve": curve,
        "bursts": len(stream.experiences),
        "state_bytes": sum(learner.ledger().values()),
        "seconds": time.perf_counter() - begun,
    }


def arrival(stream: Stream, classes: int) -> Int64:
    """(C,) the number of each class in the order in which they are met."""
    met = np.concatenate([burst.classes for burst in stream.experiences])
    first = [int(np.argmax(met == c)) for c in range(classes)]
    return np.argsort(np.argsort(first))


def learn_burst(learner: Strategy, burst: Samples, number: Int64, rng: np.random.Generator) -> None:
    """Several passes over one burst, then its end."""
    samples = Batch.of(burst.latents, number[burst.classes])
    learner.grow(max(learner.classes, int(samples.classes.max()) + 1), 0, ALLOWED_BYTES)
    for turn in range(PASSES):
        learner.observe(samples[rng.permutation(len(samples))], remember=turn == PASSES - 1)
    learner.end_experience()


def accuracy(learner: Strategy, stream: Stream, number: Int64) -> float:
    """Accuracy on the test images of all classes, also of those to come."""
    served, correct, total = learner.publish(), 0, 0
    for test in stream.tests:
        scores = served.scores(served.normalise(test.latents))
        correct += int((scores.argmax(axis=1) == number[test.classes]).sum())
        total += len(test)
    return correct / total
