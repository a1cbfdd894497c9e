"""Integers of few bits, packed: they come back, in the bytes that were planned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_cl import fixed_point
from edge_cl.codec.bits import packed_bytes


@given(st.sampled_from([4, 8, 10, 12, 14, 16]), st.integers(0, 40), st.integers(0, 3), st.data())
def test_what_is_packed_comes_back(bits, count, rows, data):
    most = 2 ** (bits - 1)
    numbers = st.lists(st.integers(-most, most - 1), min_size=rows * count, max_size=rows * count)
    values = np.array(data.draw(numbers), dtype=np.int16).reshape(rows, count)
    packed = fixed_point.pack(values, bits)
    assert packed.shape == (rows, packed_bytes(count, bits))
    np.testing.assert_array_equal(fixed_point.unpack(packed, bits, count), values)


def test_bits_lie_one_after_the_other_the_lowest_first():
    values = np.array([0x123, -2, 0x7FF])
    stream = sum((int(value) & 0xFFF) << 12 * place for place, value in enumerate(values))
    assert fixed_point.pack(values, 12).tobytes() == stream.to_bytes(5, "little")


def test_a_part_is_the_bytes_of_its_values():
    values = np.random.default_rng(0).integers(-2048, 2048, 21)
    packed = fixed_point.pack(values, 12)
    for count in range(22):
        part = packed[: packed_bytes(count, 12)]
        np.testing.assert_array_equal(fixed_point.unpack(part, 12, count), values[:count])


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_rows_are_right_to_half_a_step(bits):
    rows = np.random.default_rng(0).normal(size=(5, 30)).astype(np.float32)
    values, steps = fixed_point.integers(rows, bits)
    assert np.abs(values).max(axis=1).tolist() == [2 ** (bits - 1) - 1] * 5
    assert (np.abs(values * steps[:, None] - rows) <= 0.5001 * steps[:, None]).all()
    np.testing.assert_array_equal(fixed_point.integers(np.zeros((1, 3)), bits)[0], 0)


def test_rounding_by_chance_is_right_on_average():
    rng = np.random.default_rng(0)
    row = np.array([0.013, -0.4, 1.0], dtype=np.float32)
    values, steps = fixed_point.integers(np.tile(row, (20_000, 1)), 4, rng)
    np.testing.assert_allclose((values * steps[:, None]).mean(axis=0), row, atol=3e-3)


def test_bytes_of_rows():
    rows = np.random.default_rng(1).normal(size=(3, 7)).astype(np.float32)
    values, steps = fixed_point.to_8(rows)
    assert values.dtype == np.int8
    np.testing.assert_allclose(fixed_point.floats(values, steps), rows, atol=0.51 * steps.max())
