"""Low-rank covariances: the few directions in which a class spreads more than all classes do.

A factor is (R, V) rows whose outer products add up to what is kept of a covariance, of the
V features in which that class differs most: those picked for it, of the W that all classes
have. Of the other features nothing is kept that the shared covariance does not tell from
the picked ones, so a direction costs only its picked features. Which rows and features are
worth keeping is measured by the precision that all classes share: a row f counts f' P f,
its variance in units of the shared one, and a feature what it adds to that.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edge_cl.types import Float32, Int64, UInt8

Rows: TypeAlias = npt.NDArray[np.floating]

VALUES_AT_ONCE = 1 << 20
"""So many covariances of picked features are taken out at one time."""


def merged(rows: Rows, solved: Rows, rank: int, own: int) -> tuple[Int64, Float32]:
    """The features (V,) to pick and the factor (rank, V) for what (N, W) `rows` add up to.

    Parameters
    ----------
    rows
        An older factor and new deviations, scaled so that their outer products add up to
        a covariance; in the manner of Levy & Lindenbaum (2000), eq. 8 to 11.
    solved
        (N, W): the shared precision times each row.
    rank
        Rows of the result; largest first, and zeros where there are not so many.
    own
        Features to pick, V.
    """
    _, turn = np.linalg.eigh(symmetric(rows @ solved.T))
    best = turn[:, ::-1][:, :rank].T
    whole = best @ rows
    picked = np.arange(rows.shape[1])
    if own < len(picked):
        added = np.abs(whole * (best @ solved)).sum(axis=0)
        picked = np.sort(np.argpartition(-added, own - 1)[:own])
    factor = np.zeros((rank, own), dtype=np.float32)
    factor[: len(whole)] = whole[:, picked]
    return picked, factor


def solve(covariance: Float32, picked: Int64, rows: Float32) -> Float32:
    """(C, R, V) `rows` of C classes times the precision of their (C, V) picked features.

    That is the inverse of these features' own part of the (W, W) covariance.
    """
    classes, _, own = rows.shape
    if own == len(covariance):
        flat = np.linalg.solve(covariance, rows.reshape(-1, own).T).T
        return flat.reshape(rows.shape)
    found = np.empty_like(rows)
    some = max(VALUES_AT_ONCE // own**2, 1)
    for start in range(0, classes, some):
        part = slice(start, start + some)
        at = picked[part]
        squares = covariance[at[:, :, None], at[:, None, :]]
        found[part] = np.swapaxes(np.linalg.solve(squares, np.swapaxes(rows[part], 1, 2)), 1, 2)
    return found


def completed(covariance: Float32, picked: Int64, rows: Float32) -> tuple[Float32, Float32]:
    """Rows (C, R, V) with what the covariance tells of all W features, and those solved.

    A solved row is zero but at the picked features: what was expected adds no surprise.
    """
    solved = solve(covariance, picked, rows)
    if rows.shape[2] == len(covariance):
        return rows, solved
    solved = spread(solved, picked, len(covariance))
    return solved @ covariance, solved


def spread(rows: Float32, picked: Int64, width: int) -> Float32:
    """(C, R, W) rows with zeros at the features that were not picked."""
    if rows.shape[2] == width:
        return rows
    whole = np.zeros((*rows.shape[:2], width), dtype=np.float32)
    np.put_along_axis(whole, np.broadcast_to(picked[:, None], rows.shape), rows, axis=2)
    return whole


def pick_bits(picked: Int64, width: int) -> UInt8:
    """(…, W / 8) bytes with a bit for each of W features, set for the (…, V) picked ones."""
    chosen = np.zeros((*picked.shape[:-1], width), dtype=np.uint8)
    np.put_along_axis(chosen, picked, 1, axis=-1)
    return np.packbits(chosen, axis=-1)


def read_picks(bits: UInt8, width: int, own: int) -> Int64:
    """The (C, V) picked features of `pick_bits`; the first ones where none was picked yet."""
    chosen = np.unpackbits(bits, axis=1, count=width)
    chosen[~chosen.any(axis=1), :own] = 1
    return np.nonzero(chosen)[1].reshape(len(bits), own)


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
