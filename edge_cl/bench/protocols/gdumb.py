"""GDumb on MNIST after Prabhu et al. 2020: 300 or 500 digits kept of a class-incremental stream.

The whole training set comes once, two digits at a time; the greedy balanced sampler keeps
M images, on which an MLP is trained from scratch: 128 passes of batches of 16 with
warm restarts. Each image is shifted at random in every pass (a crop of the image padded
by 4 pixels). The paper reports the best epoch on the test set; this reports the last.
The published MLP has batch normalisation and a highest rate of 0.05. This one has none,
and a rate of 0.02: at 0.05 it is not always stable.

References
----------
A. Prabhu, P. H. S. Torr and P. K. Dokania, GDumb: A simple approach that questions our
progress in continual learning, ECCV 2020, doi:10.1007/978-3-030-58536-5_31; the figures
are those of the authors' published code.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any, ClassVar

import numpy as np

from edge_cl.bench.datasets import mnist
from edge_cl.bench.protocols.van_de_ven import ALLOWED_BYTES, Row, Split
from edge_cl.options import parse_options
from edge_cl.strategies.gdumb import GDumb, GDumbOptions
from edge_cl.types import Array, Batch, Float32

SIDE = 28
PADDING = 4
COMMON: Mapping[str, Any] = {
    "normalise": "none",
    "passes": 128,
    "batch_size": 100,
    "learning_rate": 0.02,
    "least_learning_rate": 2e-4,
}
QUICK: Mapping[str, Any] = {"passes": 32, "memory_samples": 100}
QUICK_POOLS = 2000, 1000
LARGE: Mapping[str, Any] = {"memory_samples": 500, "hidden": (400, 400)}

ROWS: dict[str, Row] = {
    "m500-mlp400": Row("gdumb", LARGE, 91.9, 90.9),
    "m500-mlp100": Row("gdumb", {"memory_samples": 500, "hidden": (100, 100)}, 90.2, 89.2),
    "m300-mlp100": Row("gdumb", {"memory_samples": 300, "hidden": (100, 100)}, 89.1, 87.6),
    "m500-mlp400-unshifted": Row("gdumb", LARGE),
}
"""Method → row: how many images are kept, how wide the two hidden layers are."""


class ShiftingGDumb(GDumb):
    """GDumb that trains on randomly shifted images."""

    name: ClassVar[str] = "gdumb"

    def exemplars(self, slots: Array, rng: np.random.Generator) -> Batch:
        """The images in `slots`, each shifted by its own random offset."""
        rows = self.memory.rows(slots)
        return Batch(shifted(rows.latents, rng), rows.classes, rows.contexts, rows.ids)


def shifted(images: Float32, rng: np.random.Generator) -> Float32:
    """Each of (N, 784) `images` moved by -4 to 4 pixels both ways, black moving in."""
    count = len(images)
    margins = ((0, 0), (PADDING, PADDING), (PADDING, PADDING))
    padded = np.pad(images.reshape(count, SIDE, SIDE), margins)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(1, 2))
    down, right = rng.integers(0, 2 * PADDING + 1, (2, count))
    return np.ascontiguousarray(windows[np.arange(count), down, right]).reshape(count, -1)


def run(method: str, seed: int, quick: bool = False) -> dict[str, Any]:
    """One row with one seed, of the stream's order, the sampler and the training.

    Parameters
    ----------
    method
        A key of `ROWS`.
    seed
        Of everything random.
    quick
        Seconds instead of minutes: fewer images, kept images and passes.

    Returns
    -------
    `accuracy` on all test digits, as a fraction; `kept` exemplars of each digit.
    """
    digits = mnist()
    if quick:
        digits = digits.part(*QUICK_POOLS)
    options = {**COMMON, **ROWS[method].options, **(QUICK if quick else {})}
    parsed = parse_options(GDumbOptions, options, strategy="gdumb")
    kind = GDumb if method.endswith("unshifted") else ShiftingGDumb
    learner = kind(digits.spec, parsed, seed=seed, allowed_bytes=ALLOWED_BYTES)
    split = Split(digits, np.arange(digits.classes).reshape(5, 2), knows_task=False)
    rng, begun = np.random.Generator(np.random.PCG64(seed)), perf_counter()
    for task in range(5):
        samples = split.train(task)
        learner.grow(2 * task + 2, task + 1, ALLOWED_BYTES)
        learner.observe(samples[rng.permutation(len(samples))])
        learner.end_experience()
    accuracies = split.accuracies(learner, 5)
    sizes = [len(split.test(task)) for task in range(5)]
    return {
        "protocol": "gdumb",
        "method": method,
        "strategy": "gdumb",
        "options": parsed.model_dump(mode="json"),
        "seed": seed,
        "quick": quick,
        "accuracy": float(np.average(accuracies, weights=sizes)),
        "kept": learner.memory.counts.tolist(),
        "state_bytes": sum(learner.ledger().values()),
        "seconds": perf_counter() - begun,
    }
