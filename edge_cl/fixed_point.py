"""Rows of few-bit integers with a step each, packed without a gap.

Rounding is to the nearest integer, or with a random generator up or down so that the
expected value is exact: what is rounded again with every update must not lose those that
are smaller than half a step.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edge_cl.types import Array, Float32, Int8, UInt8

Rows: TypeAlias = npt.NDArray[np.floating]


def integers(
    rows: Rows, bits: int, rng: np.random.Generator | None = None
) -> tuple[npt.NDArray[np.int16], Float32]:
    """Integers of so many bits of (…, W) rows, the largest ones used, and each row's step (…)."""
    levels = 2 ** (bits - 1) - 1
    steps = (np.maximum(np.abs(rows).max(axis=-1, initial=0), 1e-30) / levels).astype(np.float32)
    scaled = rows / steps[..., None]
    scaled += 0.5 if rng is None else rng.random(rows.shape, dtype=np.float32)
    return np.clip(np.floor(scaled), -levels, levels).astype(np.int16), steps


def to_8(rows: Rows, rng: np.random.Generator | None = None) -> tuple[Int8, Float32]:
    """(…, W) bytes of rows, and each row's step (…)."""
    values, steps = integers(rows, 8, rng)
    return values.astype(np.int8), steps


def of_8(values: Int8, steps: Float32) -> Float32:
    """The rows of `to_8`."""
    return values.astype(np.float32) * steps[..., None]


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of so many integers of so many bits."""
    return (count * bits + 7) // 8


def pack(values: Array, bits: int) -> UInt8:
    """Bytes of (…, N) signed integers of an even number of bits, at most 16, the lowest bits first.

    Four of them fill a whole number of bytes.
    """
    count = values.shape[-1]
    fours = -(-count // 4)
    words = np.zeros((*values.shape[:-1], 4 * fours), dtype=np.uint64)
    words[..., :count] = values.astype(np.int64).view(np.uint64) & np.uint64(2**bits - 1)
    words = words.reshape(*values.shape[:-1], fours, 4)
    joined = words[..., 0].astype("<u8")
    for place in range(1, 4):
        joined |= words[..., place] << np.uint64(place * bits)
    of_four = joined.view(np.uint8).reshape(*values.shape[:-1], fours, 8)[..., : bits // 2]
    flat = of_four.reshape(*values.shape[:-1], fours * (bits // 2))
    return flat[..., : packed_bytes(count, bits)]


def unpack(packed: UInt8, bits: int, count: int) -> npt.NDArray[np.int16]:
    """The (…, N) integers of `pack`."""
    fours, size = -(-count // 4), packed_bytes(count, bits)
    flat = np.zeros((*packed.shape[:-1], fours * (bits // 2)), dtype=np.uint8)
    flat[..., :size] = packed[..., :size]
    joined = np.zeros((*packed.shape[:-1], fours, 8), dtype=np.uint8)
    joined[..., : bits // 2] = flat.reshape(*packed.shape[:-1], fours, bits // 2)
    places = np.arange(4, dtype=np.uint64) * np.uint64(bits)
    words = joined.view("<u8") >> places & np.uint64(2**bits - 1)
    values = words.reshape(*packed.shape[:-1], 4 * fours)[..., :count].astype(np.int32)
    half = 1 << (bits - 1)
    signed: npt.NDArray[np.int16] = ((values ^ half) - half).astype(np.int16)
    return signed
