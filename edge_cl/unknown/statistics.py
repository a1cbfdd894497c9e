"""What is kept of every class, to tell what is far from all of them: sums over its samples.

Of a latent of more than `WIDTH` values only every k-th is looked at, and of these every
second whenever more classes would take more than a part of the budget. As all of it is sums,
the order of samples does not matter, and a sample can be taken out again.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_cl.errors import CheckpointError
from edge_cl.types import Array, Float32, Float64, Int64

WIDTH = 128
"""Values of a latent that are looked at, at most."""

NARROWEST = 8
"""So few values are not halved again."""

BUDGET_PART = 16
"""Of the budget this part at most, while there are more than `NARROWEST` values."""

PREFIX = "statistics/"
PRIOR = 0.3
"""The variance of a value is its own, plus this part of the mean variance."""

EXEMPLARS = 200
"""Remembered samples that a calibration looks at, at most."""

MEMORY_SAMPLES = 256
"""Over so many samples the streaming moments of the distance reach back."""


class ClassStatistics:
    """Sums of normalised latents by class, and of their squares over all classes.

    Parameters
    ----------
    dim
        Values of a latent.
    streams
        Whether to keep moments of the distances of samples before they are added, for
        learners without a memory to calibrate with.
    """

    def __init__(self, dim: int, *, streams: bool) -> None:
        self.dim = dim
        self.streams = streams
        self._begin(-(-dim // WIDTH), 0)

    def _begin(self, stride: int, classes: int) -> None:
        self.stride = stride
        self.width = -(-self.dim // stride)
        self.totals: Float32 = np.zeros((classes, self.width), dtype=np.float32)
        self.counts: Int64 = np.zeros(classes, dtype=np.int64)
        self.squares: Float64 = np.zeros(self.width, dtype=np.float64)
        self.moments: Float64 = np.zeros(3, dtype=np.float64)
        """Samples seen, mean and variance of their distances."""

    def bytes_for(self, classes: int, budget_bytes: int) -> int:
        """Bytes at that many classes under that budget, with what is published of them."""
        return self._bytes(self._width_under(classes, budget_bytes), classes)

    def budget_with(self, other_bytes: int) -> int:
        """The least budget for so many bytes and, still without a class, these statistics."""
        budget = 0
        while budget < (needed := other_bytes + self.bytes_for(0, budget)):
            budget = needed
        return budget

    def arrays(self) -> dict[str, Array]:
        """The whole state by name: its own arrays, not copies."""
        names = ("totals", "counts", "squares", "moments")
        return {PREFIX + name: getattr(self, name) for name in names}

    def restore(self, arrays: Mapping[str, Array], classes: int, budget_bytes: int) -> None:
        """Continue from the `arrays` of another; raises CheckpointError if they do not fit.

        What an older version saved has none of them, and they fill up with new samples; or it
        has more values than the budget allows now, and those are given up.
        """
        stride, totals = -(-self.dim // WIDTH), arrays.get(PREFIX + "totals")
        if totals is not None and totals.ndim == 2:
            while NARROWEST <= totals.shape[1] < -(-self.dim // stride):
                stride *= 2
        self._begin(stride, classes)
        if any(name.startswith(PREFIX) for name in arrays):
            for name, own in self.arrays().items():
                given = arrays.get(name)
                if given is None or given.shape != own.shape or given.dtype != own.dtype:
                    raise CheckpointError(f"{name} is missing or not {own.dtype}{own.shape}")
                own[...] = given
        self.grow(classes, budget_bytes)

    def grow(self, classes: int, budget_bytes: int) -> None:
        """Make room for new classes, with fewer values of each where the budget is small."""
        while self.width > self._width_under(classes, budget_bytes):
            self._halve()
        more = classes - len(self.counts)
        if more > 0:
            self.totals = np.pad(self.totals, ((0, more), (0, 0)))
            self.counts = np.pad(self.counts, (0, more))

    def _halve(self) -> None:
        """Give up every second value: what remains is as if it had been all from the start."""
        self.stride *= 2
        self.totals, self.squares = self.totals[:, ::2].copy(), self.squares[::2].copy()
        self.width = len(self.squares)

    def _width_under(self, classes: int, budget_bytes: int) -> int:
        width = self.width
        while width >= 2 * NARROWEST and self._bytes(width, classes) * BUDGET_PART > budget_bytes:
            width = -(-width // 2)
        return width

    def _bytes(self, width: int, classes: int) -> int:
        published = 4 * (width + EXEMPLARS)
        fixed = 8 * width + self.moments.nbytes + published
        return fixed + classes * (4 * width + 8 + width + 4)

    def picked(self, latents: Float32) -> Float32:
        """The values (N, W) of normalised latents (N, D) that are looked at."""
        return latents[:, :: self.stride]

    def add(self, latents: Float32, classes: Int64) -> None:
        """Add normalised samples, one after the other."""
        for row, cls in zip(self.picked(latents), classes.tolist(), strict=True):
            if self.streams and self.counts[cls]:
                self._note(row)
            self.totals[cls] += row
            self.counts[cls] += 1
            self.squares += np.square(row, dtype=np.float64)

    def remove(self, latents: Float32 | None, classes: Int64) -> None:
        """Take normalised samples out that were added.

        Where the latents are not known, the means and variances of their classes stay.
        """
        if latents is None:
            self._fade(classes)
            return
        for row, cls in zip(self.picked(latents), classes.tolist(), strict=True):
            self.totals[cls] -= row
            self.squares -= np.square(row, dtype=np.float64)
            self._one_less(cls)

    def _fade(self, classes: Int64) -> None:
        for cls in classes.tolist():
            count = max(int(self.counts[cls]), 1)
            mean = self.totals[cls] / np.float32(count)
            self.squares -= np.square(mean, dtype=np.float64) + self._variance()
            self.totals[cls] -= mean
            self._one_less(cls)

    def clear(self, cls: int) -> None:
        """Take a whole class out; the variance of the others stays as it is."""
        count = int(self.counts[cls])
        if count:
            mean = self.totals[cls].astype(np.float64) / count
            self.squares -= count * mean * mean + (count - 1) * self._variance()
        self.totals[cls], self.counts[cls] = 0, 0

    def merge(self, cls: int, into: int) -> None:
        """Samples of `cls` become samples of `into`."""
        self.totals[into] += self.totals[cls]
        self.counts[into] += self.counts[cls]
        self.totals[cls], self.counts[cls] = 0, 0

    def means(self) -> Float32:
        """(C, W) mean of each class; infinitely far away where there is no sample."""
        counts = self.counts[:, None]
        means = self.totals / np.maximum(counts, 1).astype(np.float32)
        return np.where(counts > 0, means, np.float32(np.inf)).astype(np.float32)

    def precision(self) -> Float32:
        """(W,) inverse of the smoothed variance of each value within classes."""
        variance = self._variance()
        level = float(variance.mean())
        if level <= 0:
            return np.ones(self.width, dtype=np.float32)
        inverse: Float32 = (1 / (variance + PRIOR * level)).astype(np.float32)
        return inverse

    def _variance(self) -> Float64:
        counts = np.maximum(self.counts, 1)[:, None]
        between = (self.totals.astype(np.float64) ** 2 / counts).sum(axis=0)
        freedom = int(self.counts.sum()) - np.count_nonzero(self.counts)
        variance: Float64 = np.maximum(self.squares - between, 0) / max(freedom, 1)
        return variance

    def _one_less(self, cls: int) -> None:
        self.counts[cls] = max(int(self.counts[cls]) - 1, 0)
        if not self.counts[cls]:
            self.totals[cls] = 0

    def _note(self, row: Float32) -> None:
        """Let the distance of a sample that is not yet known into the moments."""
        distance = float(distances(row[None], self.means(), self.precision()).min())
        seen, mean, variance = self.moments
        weight = max(1 / (seen + 1), 1 / MEMORY_SAMPLES)
        move = distance - mean
        self.moments[:] = (
            seen + 1,
            mean + weight * move,
            (1 - weight) * (variance + weight * move * move),
        )


def distances(rows: Float32, means: Float32, precision: Float32) -> Float32:
    """(N, C) mean squared difference of rows (N, W) to means, each value by its precision."""
    scaled, weighted = rows * precision, means * precision
    known = np.isfinite(means[:, 0])
    found = np.full((len(rows), len(means)), np.inf, dtype=np.float32)
    squares = (scaled * rows).sum(axis=1)[:, None] + (weighted[known] * means[known]).sum(axis=1)
    found[:, known] = (squares - 2 * (rows @ weighted[known].T)) / np.float32(rows.shape[1])
    return np.maximum(found, np.float32(0))
