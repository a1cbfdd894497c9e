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
    _, factor = factors.merged(rows, np.linalg.solve(covariance, rows.T).T, 5, 5)
    np.testing.assert_allclose(factor.T @ factor, rows.T @ rows, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_it_keeps_the_largest_generalised_eigenvalues(rank):
    rng = np.random.default_rng(rank)
    rows, covariance = rng.normal(size=(12, 5)), shared(5, rng)
    _, factor = factors.merged(rows, np.linalg.solve(covariance, rows.T).T, rank, 5)
    # Against those of inv(L) S inv(L)', where the shared covariance is L L'.
    inverse = np.linalg.inv(np.linalg.cholesky(covariance))
    expected = np.linalg.eigvalsh(inverse @ rows.T @ rows @ inverse.T)[::-1][:rank]
    gram = factor @ np.linalg.solve(covariance, factor.T)
    np.testing.assert_allclose(np.diagonal(gram), expected, rtol=1e-4)
    np.testing.assert_allclose(gram, np.diag(np.diagonal(gram)), atol=1e-4)


def test_fewer_rows_than_directions_leave_zeros():
    rows = np.eye(2, 4)
    _, factor = factors.merged(rows, rows, 3, 4)
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


def test_those_features_are_picked_in_which_the_rows_are_surprising():
    rng = np.random.default_rng(6)
    covariance = shared(8, rng)
    inside = np.zeros((3, 8))
    inside[:, [1, 4, 6]] = rng.normal(size=(3, 3))
    # What the covariance expects elsewhere when it knows those three is no surprise.
    expected = inside[:, [1, 4, 6]] @ np.linalg.inv(covariance[np.ix_([1, 4, 6], [1, 4, 6])])
    rows = expected @ covariance[[1, 4, 6]]
    picked, factor = factors.merged(rows, np.linalg.solve(covariance, rows.T).T, 3, 3)
    assert picked.tolist() == [1, 4, 6]
    part = inside[:, [1, 4, 6]]
    np.testing.assert_allclose(factor.T @ factor, part.T @ part, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("own", [3, 8])
def test_picked_features_are_solved_by_their_own_part_of_the_covariance(own, monkeypatch):
    rng = np.random.default_rng(7)
    covariance = shared(8, rng).astype(np.float32)
    picked = np.sort(np.stack([rng.permutation(8)[:own] for _ in range(5)]))
    rows = rng.normal(size=(5, 2, own)).astype(np.float32)
    monkeypatch.setattr(factors, "VALUES_AT_ONCE", 20)
    found = factors.solve(covariance, picked, rows)
    whole, solved = factors.completed(covariance, picked, rows)
    for c, at in enumerate(picked):
        precision = np.linalg.inv(covariance[np.ix_(at, at)])
        np.testing.assert_allclose(found[c], rows[c] @ precision, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(whole[c][:, at], rows[c], rtol=1e-3, atol=1e-3)
        # Expected elsewhere: the regression on the picked features (Anderson 2003, 2.5.1).
        regressed = rows[c] @ precision @ covariance[at]
        np.testing.assert_allclose(whole[c], regressed, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(solved, factors.spread(found, picked, 8))


def test_picks_come_back_and_are_the_first_ones_before_any():
    picked = np.array([[0, 3, 9], [2, 4, 5]])
    bits = factors.pick_bits(picked, 10)
    assert bits.shape == (2, 2)
    np.testing.assert_array_equal(factors.read_picks(bits, 10, 3), picked)
    np.testing.assert_array_equal(factors.read_picks(bits * 0, 10, 3), [[0, 1, 2]] * 2)
    assert factors.read_picks(bits[:0], 10, 3).shape == (0, 3)


def test_spread_rows_are_zero_elsewhere():
    rows = np.ones((1, 2, 2), dtype=np.float32)
    found = factors.spread(rows, np.array([[1, 3]]), 5)
    np.testing.assert_array_equal(found, [[[0, 1, 0, 1, 0]] * 2])
