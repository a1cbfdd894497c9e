"""A covariance matrix in one and a half bytes an entry, kept while it streams.

Off-diagonal entries are correlations in the strict lower triangle, row by row: the first
rows of a triangle are the triangle of the first features, so a covariance is narrowed by
cutting its array short. An entry is a signed square of 12 bits, for most correlations are
small and the levels are then dense where they lie. Rounding is stochastic: the error of
thousands of updates averages out, where rounding to nearest would lose every update that
is smaller than half a step.
"""

from __future__ import annotations

import numpy as np

from edge_cl import fixed_point
from edge_cl.codec.bits import packed_bytes
from edge_cl.types import Float32, Int64, UInt8

BITS = 12
"""Of a correlation."""

LEVELS = 2 ** (BITS - 1) - 1
"""Levels of a correlation's square root between 0 and 1."""


def triangle_bytes(width: int) -> int:
    """Bytes of what is below the diagonal of a (width, width) matrix."""
    return packed_bytes(width * (width - 1) // 2, BITS)


def pack(values: Float32, rng: np.random.Generator) -> UInt8:
    """Bytes of (N,) values in [-1, 1], each rounded up or down to a signed square (unbiased)."""
    size = np.abs(values) * np.float32(LEVELS * LEVELS)
    low = np.floor(np.sqrt(size))
    # The squares next to it are low^2 and (low + 1)^2.
    low += rng.random(len(low), dtype=np.float32) * (2 * low + 1) < size - low * low
    return fixed_point.pack(np.copysign(np.minimum(low, np.float32(LEVELS)), values), BITS)


def unpack(packed: UInt8, count: int) -> Float32:
    """The `count` values of `pack`."""
    signed = fixed_point.unpack(packed, BITS, count).astype(np.float32)
    values: Float32 = signed * np.abs(signed)
    values *= np.float32(1 / (LEVELS * LEVELS))
    return values


def correlations(triangle: UInt8, width: int) -> Float32:
    """The full (width, width) correlation matrix, ones on the diagonal."""
    full = np.zeros((width, width), dtype=np.float32)
    full[np.tri(width, k=-1, dtype=np.bool_)] = unpack(triangle, width * (width - 1) // 2)
    full += full.T
    full[np.diag_indices(width)] = 1
    return full


def covariance(triangle: UInt8, variance: Float32) -> Float32:
    """The full covariance matrix of a stored one."""
    spread = np.sqrt(variance)
    full = correlations(triangle, len(variance))
    full *= spread[:, None]
    full *= spread
    return full


def store(full: Float32, triangle: UInt8, variance: Float32, rng: np.random.Generator) -> None:
    """Write a covariance matrix (W, W) into `triangle` and `variance`, in place."""
    variance[:] = np.diagonal(full)
    spread = np.sqrt(variance)
    spread[spread == 0] = 1
    scaled = full / spread[:, None] / spread
    below = scaled[np.tri(len(variance), k=-1, dtype=np.bool_)]
    triangle[:] = pack(below.astype(np.float32, copy=False), rng)


def most_telling(full: Float32) -> Int64:
    """The features (W,) of a covariance, first those from which the others follow best.

    The pivots of its Cholesky factorisation: each next one is what varies most given those
    before it (Harbrecht et al. 2012, doi:10.1016/j.apnum.2011.10.001, algorithm 1).
    """
    width = len(full)
    left = np.diagonal(full).astype(np.float64)
    factor = np.zeros((width, width))
    pivots = np.empty(width, dtype=np.int64)
    for step in range(width):
        pivot = pivots[step] = int(left.argmax())
        size = np.sqrt(max(left[pivot], 1e-30))
        factor[step] = (full[pivot] - factor[:step, pivot] @ factor[:step]) / size
        left -= factor[step] ** 2
        left[pivots[: step + 1]] = -np.inf
    return pivots
