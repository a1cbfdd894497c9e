"""Whether an extractor is as good as the network that it was made from."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge_cl.errors import ExtractorError
from edge_cl.types import Float32, Int64

MIN_COSINE = 0.97
MAX_PROBE_DROP = 1.0
"""In points; the report of a build that passes them says by how much."""

RIDGE = 1.0


@dataclass(frozen=True)
class Parity:
    """An extractor against its reference on the same images.

    Parameters
    ----------
    cosine_mean, cosine_min
        Between the two latents of one image, over all images.
    batch_steps
        Largest difference, in quantisation steps, between the latents of an image
        alone and in a batch.
    cpu_ms, reference_cpu_ms
        Median CPU time of one image on one thread.
    size_ratio
        File size over the reference's.
    probe_percent, reference_probe_percent
        Accuracy of a ridge classifier on half of the images, fitted on the others;
        None without labels.
    """

    cosine_mean: float
    cosine_min: float
    batch_steps: int
    cpu_ms: float
    reference_cpu_ms: float
    size_ratio: float
    probe_percent: float | None = None
    reference_probe_percent: float | None = None

    @property
    def probe_drop(self) -> float:
        """Points that the probe loses against the reference; 0 without labels."""
        if self.probe_percent is None or self.reference_probe_percent is None:
            return 0.0
        return self.reference_probe_percent - self.probe_percent

    def figures(self) -> dict[str, float]:
        """All figures by name, rounded for the manifest."""
        return {k: round(float(v), 4) for k, v in asdict(self).items() if v is not None}

    def require(
        self, min_cosine: float = MIN_COSINE, max_probe_drop: float = MAX_PROBE_DROP
    ) -> None:
        """Refuse a bad result.

        Raises
        ------
        ExtractorError
            When the latents differ too much, or depend on the batch.
        """
        faults = []
        if not self.cosine_mean >= min_cosine:
            faults.append(f"mean cosine {self.cosine_mean:.4f}, at least {min_cosine} is wanted")
        if self.probe_drop > max_probe_drop:
            faults.append(
                f"the probe loses {self.probe_drop:.2f} points, {max_probe_drop} are allowed"
            )
        if self.batch_steps > 1:
            faults.append(f"latents change by {self.batch_steps} steps with the batch size")
        if faults:
            raise ExtractorError(
                f"the extractor is refused: {'; '.join(faults)}. More or other calibration images, "
                "or an earlier layer, may help; nothing was written"
            )


def cosines(a: Float32, b: Float32) -> Float32:
    """Cosine between rows of equal index."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both: Float32 = (a * b).sum(1) / np.maximum(lengths, 1e-12)
    return both


def ridge_percent(latents: Float32, labels: Int64, seed: int = 0) -> float:
    """Accuracy of a ridge classifier: fitted on one half, tested on the other."""
    order = np.random.default_rng(seed).permutation(len(latents))
    fit, test = order[: len(order) // 2], order[len(order) // 2 :]
    mean, deviation = latents[fit].mean(0), latents[fit].std(0) + 1e-6
    x = np.column_stack([(latents - mean) / deviation, np.ones(len(latents))]).astype(np.float64)
    wanted = np.eye(labels.max() + 1)[labels[fit]]
    gram = x[fit].T @ x[fit] + RIDGE * len(fit) / 100 * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x[fit].T @ wanted)
    return float(100 * ((x[test] @ weights).argmax(1) == labels[test]).mean())


def median_cpu_ms(
    first: Callable[[], Any], second: Callable[[], Any], rounds: int = 30
) -> tuple[float, float]:
    """Median CPU milliseconds of two calls that take turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, spent in zip((first, second), times, strict=True):
            start = time.process_time()
            call()
            spent.append(1000 * (time.process_time() - start))
    return float(np.median(times[0])), float(np.median(times[1]))
