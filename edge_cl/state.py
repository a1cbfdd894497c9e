"""State as named arrays: the one form that is checkpoint, ledger and export at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_cl.types import Array


class Role(Enum):
    """Who reads an array, which decides what it costs and whether it is saved."""

    PRIVATE = "private"
    """Read by learning alone: saved, one copy."""
    PUBLISHED = "published"
    """Read by learning and by predictions: saved, and a second copy is published."""
    DERIVED = "derived"
    """Made afresh by `settle`, read by predictions alone: not saved, one copy."""


@dataclass(frozen=True)
class Slot:
    """Shape and type of one named array.

    Parameters
    ----------
    shape
        Lengths of the axes; any of them may grow with classes and contexts.
    dtype
        Type of the values.
    role
        Who reads it.
    """

    shape: tuple[int, ...]
    dtype: npt.DTypeLike = np.float32
    role: Role = Role.PRIVATE

    @property
    def stored_bytes(self) -> int:
        """Bytes of one copy."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    @property
    def total_bytes(self) -> int:
        """Bytes of all copies that exist at one time."""
        return self.stored_bytes * (2 if self.role is Role.PUBLISHED else 1)


def zeros(slot: Slot) -> Array:
    """An array of zeros of this slot's shape and type."""
    return np.zeros(slot.shape, dtype=slot.dtype)


def enlarged(old: Array, slot: Slot) -> Array:
    """A copy of `old` in the leading block of zeros of the slot's shape."""
    new = zeros(slot)
    new[tuple(slice(length) for length in old.shape)] = old
    return new


def class_parts(
    less: Slot, now: Slot, more: Slot, cls: int, classes: int
) -> list[tuple[slice, ...]]:
    """Where an array of shape `now` holds the class `cls` of `classes`.

    Parameters
    ----------
    less, now, more
        The array's slot with one class less, as it is, and with one more: an axis that
        grows by the same step each time has, at its end, one such step for every class.
    """
    parts = []
    for axis, length in enumerate(now.shape):
        step = length - less.shape[axis]
        if step > 0 and more.shape[axis] - length == step:
            first = length - (classes - cls) * step
            parts.append((slice(None),) * axis + (slice(first, first + step),))
    return parts


def generator_state(rng: np.random.Generator) -> Array:
    """State of a PCG64 generator as (6,) uint64."""
    state: Mapping[str, Any] = rng.bit_generator.state
    inner = state["state"]
    low = (1 << 64) - 1
    words = [
        inner["state"] & low,
        inner["state"] >> 64,
        inner["inc"] & low,
        inner["inc"] >> 64,
        state["has_uint32"],
        state["uinteger"],
    ]
    return np.array(words, dtype=np.uint64)


def set_generator_state(rng: np.random.Generator, words: Array) -> None:
    """Put a PCG64 generator back into a state from `generator_state`."""
    values = [int(word) for word in words]
    rng.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": values[0] | values[1] << 64, "inc": values[2] | values[3] << 64},
        "has_uint32": values[4],
        "uinteger": values[5],
    }
