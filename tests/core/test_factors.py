"""Low-rank covariances, measured by a shared precision."""

from __future__ import annotations

import numpy as np
import pytest

from edge_cl import factors


def shared(width, rng):
    mixing = rng.normal(size=(width, width))
    return mixing @ mixing.T + np.eye(width)


def test_a_factor_of_full_rank_loses_nothing():
    rng = np.random.default_rng(0)
    rows, covariance = rng.normal(size=(12, 5)), shared(5, rng)
    factor = factors.merged(rows, np.linalg.solve(covariance, rows.T).T, rank=5)
    np.testing.assert_allclose(factor.T @ factor, rows.T @ rows, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_it_keeps_the_largest_generalised_eigenvalues(rank):
    rng = np.random.default_rng(rank)
    rows, covariance = rng.normal(size=(12, 5)), shared(5, rng)
    factor = factors.merged(rows, np.linalg.solve(covariance, rows.T).T, rank)
    # Against those of inv(L) S inv(L)', where the shared covariance is L L'.
    inverse = np.linalg.inv(np.linalg.cholesky(covariance))
    expected = np.linalg.eigvalsh(inverse @ rows.T @ rows @ inverse.T)[::-1][:rank]
    gram = factor @ np.linalg.solve(covariance, factor.T)
    np.testing.assert_allclose(np.diagonal(gram), expected, rtol=1e-4)
    np.testing.assert_allclose(gram, np.diag(np.diagonal(gram)), atol=1e-4)


def test_fewer_rows_than_directions_leave_zeros():
    rows = np.eye(2, 4)
    factor = factors.merged(rows, rows, rank=3)
    assert factor.shape == (3, 4)
    np.testing.assert_array_equal(factor[2], 0)
    np.testing.assert_allclose(factor.T @ factor, np.diag([1, 1, 0, 0]), atol=1e-6)


def test_directions_have_unit_variance_under_the_shared_covariance():
    rng = np.random.default_rng(4)
    rows, covariance = rng.normal(size=(2, 3, 6)), shared(6, rng)
    rows[1, 2] = 0
    solved = np.linalg.solve(covariance, rows.reshape(-1, 6).T).T.reshape(rows.shape)
    variances, directions = factors.diagonalised(rows, solved)
    for own, along, spread in zip(rows, directions, variances, strict=True):
        used = spread > 1e-9
        expected = np.diag(used.astype(float))
        np.testing.assert_allclose(along @ covariance @ along.T, expected, atol=1e-6)
        np.testing.assert_allclose(along @ own.T @ own @ along.T, np.diag(spread), atol=1e-6)


def test_rows_of_bytes_are_within_a_step_and_unbiased():
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(3, 50)) * [[1e-6], [1], [1e3]]
    values, steps = factors.to_bytes(rows)
    assert (np.abs(factors.to_rows(values, steps) - rows) <= steps[:, None] * 0.501).all()
    many = np.mean([factors.to_rows(*factors.to_bytes(rows, rng)) for _ in range(400)], axis=0)
    assert (np.abs(many - rows) <= steps[:, None] * 0.15).all()
    np.testing.assert_array_equal(factors.to_rows(*factors.to_bytes(np.zeros((1, 4)))), 0)
