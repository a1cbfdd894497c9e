"""Symmetric matrices stored as their upper triangle, row by row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge_cl.types import Array, Float64


def packed_size(dim: int) -> int:
    """Values in the upper triangle of a (dim, dim) matrix."""
    return dim * (dim + 1) // 2


def _rows(dim: int) -> Iterator[tuple[int, slice]]:
    start = 0
    for row in range(dim):
        stop = start + dim - row
        yield row, slice(start, stop)
        start = stop


def add_gram(packed: Array, vectors: Array, sign: int = 1) -> None:
    """Add ``sign * vectors.T @ vectors`` of (N, dim) `vectors` to `packed`, in place."""
    gram = sign * (vectors.T @ vectors)
    for row, part in _rows(vectors.shape[1]):
        packed[part] += gram[row, row:]


def unpack(packed: Array, dim: int) -> Float64:
    """The full symmetric (dim, dim) matrix."""
    full = np.empty((dim, dim), dtype=np.float64)
    for row, part in _rows(dim):
        full[row, row:] = packed[part]
        full[row:, row] = packed[part]
    return full
