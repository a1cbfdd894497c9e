from __future__ import annotations

import numpy as np
import pytest

from edge_cl import equations
from edge_cl.state import generator_state, set_generator_state
from edge_cl.triangle import add_gram, packed_size, unpack


def test_softmax_is_stable_and_sums_to_one():
    logits = np.array([[1e4, 1e4, -1e4], [0, np.log(2), np.log(3)]], dtype=np.float32)
    probabilities = equations.softmax(logits)
    np.testing.assert_allclose(probabilities, [[0.5, 0.5, 0], [1 / 6, 2 / 6, 3 / 6]], rtol=1e-6)


def test_softmax_at_a_temperature_flattens():
    logits = np.array([[0, 2]], dtype=np.float32)
    np.testing.assert_allclose(
        equations.softmax(logits, 2.0), equations.softmax(logits / 2), rtol=1e-6
    )


def test_cross_entropy_gradient_is_its_difference_quotient():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 4)).astype(np.float32)
    classes = np.array([0, 3, 1])
    gradient = equations.cross_entropy_gradient(logits, classes)
    for n, c in np.ndindex(3, 4):
        up, down = logits.astype(np.float64), logits.astype(np.float64)
        up[n, c] += 1e-4
        down[n, c] -= 1e-4
        slope = (
            equations.cross_entropy(up, classes).mean()
            - equations.cross_entropy(down, classes).mean()
        ) / 2e-4
        assert gradient[n, c] == pytest.approx(slope, abs=1e-5)


def test_power_l2_is_signed_and_has_unit_length():
    rows = np.array([[4, -9, 0], [0, 0, 0]], dtype=np.float32)
    out = equations.power_l2(rows)
    np.testing.assert_allclose(out[0], np.array([2, -3, 0]) / np.sqrt(13), rtol=1e-6)
    np.testing.assert_array_equal(out[1], 0)


def test_path_importance_by_hand():
    # Zenke et al. 2017, eq. 5 with path 0.5, a move of 0.3 and xi = 0.1: 0.5 / 0.19
    importance = equations.path_importance(
        np.float32([0.5, -1]), np.float32([1.3, 2]), np.float32([1.0, 2]), 0.1
    )
    np.testing.assert_allclose(importance, [0.5 / 0.19, 0], rtol=1e-5)


def test_consolidation_weight_is_a_square_root():
    weight = equations.consolidation_weight(np.array([0.0, 4.0, 9.0]), np.array([5.0, 1.0, 36.0]))
    np.testing.assert_allclose(weight, [0, 2, 0.5])


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_a_packed_triangle_is_the_gram_matrix(dim):
    vectors = np.random.default_rng(dim).normal(size=(5, dim))
    packed = np.zeros(packed_size(dim))
    add_gram(packed, vectors[:2])
    add_gram(packed, vectors[2:])
    np.testing.assert_allclose(unpack(packed, dim), vectors.T @ vectors)


def test_a_generator_continues_from_its_saved_state():
    rng = np.random.Generator(np.random.PCG64(3))
    rng.integers(0, 10, 7, dtype=np.uint32)
    words = generator_state(rng)
    other = np.random.Generator(np.random.PCG64(99))
    set_generator_state(other, words)
    np.testing.assert_array_equal(rng.random(5), other.random(5))
    np.testing.assert_array_equal(
        rng.integers(0, 9, 5, dtype=np.uint32), other.integers(0, 9, 5, dtype=np.uint32)
    )
