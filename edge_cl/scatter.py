"""A covariance matrix in two bytes an entry, kept while it streams.

Off-diagonal entries are correlations, as signed fractions of 16 bits in the strict lower
triangle, row by row: the first rows of a triangle are the triangle of the first features,
so a covariance is narrowed by cutting its array short. Rounding is stochastic: the error
of thousands of updates then averages out, where rounding to nearest would lose every
update that is smaller than half a step.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge_cl.types import Array, Float32

STEPS = 32767
"""Steps of the fixed-point numbers in one unit."""


def triangle_size(width: int) -> int:
    """Entries below the diagonal of a (width, width) matrix."""
    return width * (width - 1) // 2


def _rows(width: int) -> Iterator[tuple[int, slice]]:
    start = 0
    for row in range(1, width):
        yield row, slice(start, start + row)
        start += row


def rounded(values: Float32, rng: np.random.Generator) -> Array:
    """Fixed-point int16 of values in [-1, 1], rounded stochastically (unbiased)."""
    steps = values * np.float32(STEPS)
    steps += rng.random(values.shape, dtype=np.float32)
    np.floor(steps, out=steps)
    np.clip(steps, -STEPS, STEPS, out=steps)
    return steps.astype(np.int16)


def correlations(triangle: Array, width: int) -> Float32:
    """The full (width, width) correlation matrix, ones on the diagonal."""
    full = np.eye(width, dtype=np.float32)
    for row, part in _rows(width):
        full[row, :row] = triangle[part]
        full[row, :row] *= np.float32(1 / STEPS)
        full[:row, row] = full[row, :row]
    return full


def covariance(triangle: Array, variance: Float32) -> Float32:
    """The full covariance matrix of a stored one."""
    spread = np.sqrt(variance)
    full = correlations(triangle, len(variance))
    full *= spread[:, None]
    full *= spread
    return full


def store(full: Float32, triangle: Array, variance: Float32, rng: np.random.Generator) -> None:
    """Write a covariance matrix (W, W) into `triangle` and `variance`, in place."""
    variance[:] = np.diagonal(full)
    spread = np.sqrt(variance)
    spread[spread == 0] = 1
    scaled = full / spread[:, None] / spread
    for row, part in _rows(len(variance)):
        triangle[part] = rounded(scaled[row, :row].astype(np.float32), rng)
