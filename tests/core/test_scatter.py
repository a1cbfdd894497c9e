"""A covariance in one and a half bytes an entry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_cl import scatter

UNIT = st.floats(-1, 1, width=32)


@given(hnp.arrays(np.float32, st.integers(0, 40), elements=UNIT), st.integers(0, 9))
def test_a_value_comes_back_as_one_of_the_squares_beside_it(values, seed):
    packed = scatter.pack(values, np.random.default_rng(seed))
    assert packed.nbytes == (3 * len(values) + 1) // 2
    found = scatter.unpack(packed, len(values))
    step = (2 * np.sqrt(np.abs(values)) + 1 / scatter.LEVELS) / scatter.LEVELS
    assert (np.abs(found - values) <= step * 1.001 + 1e-6).all()
    assert (np.abs(found) <= 1).all()


@given(hnp.arrays(np.float32, 21, elements=UNIT), st.integers(0, 21))
def test_a_triangle_is_cut_short_by_cutting_its_bytes(values, count):
    packed = scatter.pack(values, np.random.default_rng(0))
    cut = packed[: (3 * count + 1) // 2]
    assert (scatter.unpack(cut, count) == scatter.unpack(packed, 21)[:count]).all()


@pytest.mark.parametrize("value", [0.0, 1e-7, -0.003, 0.05, -0.7, 1.0])
def test_rounding_is_unbiased(value):
    values = np.full(20_000, value, dtype=np.float32)
    found = scatter.unpack(scatter.pack(values, np.random.default_rng(1)), len(values))
    step = (2 * np.sqrt(abs(value)) + 1 / scatter.LEVELS) / scatter.LEVELS
    assert abs(found.mean() - value) <= 5 * step / np.sqrt(len(values)) + 1e-7


@pytest.mark.parametrize("width", [1, 2, 5, 8, 33])
def test_a_covariance_is_stored_to_its_step(width):
    rng = np.random.default_rng(width)
    samples = rng.normal(size=(200, width)) * rng.uniform(0.01, 3, width)
    full = np.cov(samples.T).reshape(width, width).astype(np.float32)
    triangle = np.zeros(scatter.triangle_bytes(width), dtype=np.uint8)
    variance = np.zeros(width, dtype=np.float32)
    np.testing.assert_array_equal(scatter.covariance(triangle, variance), 0)
    scatter.store(full, triangle, variance, rng)
    found = scatter.covariance(triangle, variance)
    spread = np.sqrt(np.diagonal(full))
    np.testing.assert_allclose(found / spread / spread[:, None],
                               full / spread / spread[:, None], atol=1.1e-3)  # fmt: skip
    np.testing.assert_allclose(np.diagonal(found), np.diagonal(full), rtol=1e-5)


def test_a_feature_that_never_varies_has_no_covariance():
    full = np.diag([1.0, 0.0, 2.0]).astype(np.float32)
    triangle = np.zeros(scatter.triangle_bytes(3), dtype=np.uint8)
    variance = np.zeros(3, dtype=np.float32)
    scatter.store(full, triangle, variance, np.random.default_rng(0))
    np.testing.assert_allclose(scatter.covariance(triangle, variance), full, atol=1e-6)


def test_the_most_telling_features_leave_the_least_variance_unexplained():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 8)) + 0.1 * rng.normal(size=(200, 8))
    full = np.cov(rows.T)
    chosen = scatter.most_telling(full.astype(np.float32))
    assert sorted(chosen.tolist()) == list(range(8))
    for count in range(7):
        known, rest = chosen[:count], chosen[count:]
        explained = full[np.ix_(rest, known)] @ np.linalg.solve(
            full[np.ix_(known, known)], full[np.ix_(known, rest)]
        )
        left = np.diagonal(full[np.ix_(rest, rest)] - explained)
        assert left[0] == pytest.approx(left.max(), rel=1e-3)
