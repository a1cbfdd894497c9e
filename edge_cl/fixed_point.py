"""Rows of few-bit integers with a step each, packed without a gap.

Rounding is to the nearest integer, or with a random generator up or down so that the
expected value is exact: what is rounded again with every update must not lose those that
are smaller than half a step.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edge_cl.codec import bits as unsigned
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


def floats(values: Array, steps: Float32) -> Float32:
    """The (…, W) rows of such integers."""
    found: Float32 = values.astype(np.float32) * steps[..., None]
    return found


def pack(values: Array, bits: int) -> UInt8:
    """Bytes of (…, N) signed integers, as `edge_cl.codec.bits` packs unsigned ones."""
    return unsigned.pack((values.astype(np.int32) & (1 << bits) - 1).astype(np.uint16), bits)


def unpack(packed: UInt8, bits: int, count: int) -> npt.NDArray[np.int16]:
    """The (…, N) integers of `pack`."""
    half = 1 << (bits - 1)
    values = unsigned.unpack(packed, bits, count).astype(np.int32)
    signed: npt.NDArray[np.int16] = ((values ^ half) - half).astype(np.int16)
    return signed
