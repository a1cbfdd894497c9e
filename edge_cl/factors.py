"""Low-rank covariances: the few directions in which a class spreads more than all classes do.

A factor is (R, W) rows whose outer products add up to what is kept of a covariance. Which
directions are worth keeping is measured by the precision that all classes share: a row f
counts f' P f, its variance in units of the shared one.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edge_cl.types import Float32, Int8

Rows: TypeAlias = npt.NDArray[np.floating]


def merged(rows: Rows, solved: Rows, rank: int) -> Float32:
    """The best (rank, W) factor of the covariance that (N, W) `rows` add up to.

    Parameters
    ----------
    rows
        An older factor and new deviations, scaled so that their outer products add up to
        a covariance; in the manner of Levy & Lindenbaum (2000), eq. 8 to 11.
    solved
        (N, W): the shared precision times each row.
    rank
        Rows of the result; largest first, and zeros where there are not so many.
    """
    _, turn = np.linalg.eigh(symmetric(rows @ solved.T))
    best = turn[:, ::-1][:, :rank].T @ rows
    factor = np.zeros((rank, rows.shape[1]), dtype=np.float32)
    factor[: len(best)] = best
    return factor


def diagonalised(rows: Rows, solved: Rows) -> tuple[Rows, Rows]:
    """Variances (…, R), in units of the shared ones, and directions (…, R, W) of factors.

    A deviation's products with the directions have variance 1 under the shared
    covariance, and the returned variances under the factor.
    """
    variances, turn = np.linalg.eigh(symmetric(rows @ np.swapaxes(solved, -1, -2)))
    variances = np.maximum(variances, 0)
    directions = np.swapaxes(turn, -1, -2) @ solved
    length = np.sqrt(np.where(variances > 0, variances, 1))
    return variances, directions / length[..., None]


def symmetric(matrix: Rows) -> Rows:
    """The symmetric part of (…, N, N) matrices, without what rounding added."""
    half: Rows = (matrix + np.swapaxes(matrix, -1, -2)) / 2
    return half


def to_bytes(rows: Rows, rng: np.random.Generator | None = None) -> tuple[Int8, Float32]:
    """8-bit integers of (…, W) rows and each row's step, (…); stochastic rounding with `rng`."""
    steps = (np.maximum(np.abs(rows).max(axis=-1, initial=0), 1e-30) / 127).astype(np.float32)
    scaled = rows / steps[..., None]
    shift = 0.5 if rng is None else rng.random(rows.shape, dtype=np.float32)
    return np.clip(np.floor(scaled + shift), -127, 127).astype(np.int8), steps


def to_rows(values: Int8, steps: Float32) -> Float32:
    """The rows of `to_bytes`."""
    return values.astype(np.float32) * steps[..., None]
