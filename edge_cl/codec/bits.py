"""Small numbers packed tightly: `bits` bits each, little-endian, rows padded to whole bytes."""

from __future__ import annotations

import numpy as np

from edge_cl.types import Array, UInt8


def packed_bytes(dim: int, bits: int) -> int:
    """Bytes of a row of `dim` values of `bits` bits."""
    return (dim * bits + 7) // 8


def group(bits: int) -> int:
    """Values that share one word of at most 64 bits, and fill whole bytes of it."""
    return 8 if bits <= 8 else 4


def pack(values: Array, bits: int) -> UInt8:
    """Pack rows of values.

    Parameters
    ----------
    values
        (…, D) unsigned integers, each below ``2**bits``.
    bits
        1 to 8, or an even number up to 16.

    Returns
    -------
    (…, packed_bytes(D, bits)) uint8
    """
    if bits == 8:
        return np.ascontiguousarray(values, dtype=np.uint8)
    *rows, dim = values.shape
    size = group(bits)
    groups = -(-dim // size)
    padded = np.zeros((*rows, groups * size), dtype=values.dtype)
    padded[..., :dim] = values
    lanes = padded.reshape(*rows, groups, size)
    words = np.zeros((*rows, groups), dtype="<u8")
    for lane in range(size):
        words |= lanes[..., lane].astype("<u8") << np.uint64(bits * lane)
    held = bits * size // 8
    stream = words.view(np.uint8).reshape(*rows, groups, 8)[..., :held]
    flat = stream.reshape(*rows, groups * held)
    return np.ascontiguousarray(flat[..., : packed_bytes(dim, bits)])


def unpack(packed: UInt8, bits: int, dim: int) -> Array:
    """Inverse of `pack`: (…, dim) values of (…, packed_bytes(dim, bits)) bytes or more.

    They are uint8, or uint16 where they have more than 8 bits.
    """
    if bits == 8:
        return packed[..., :dim]
    rows = packed.shape[:-1]
    size, wanted = group(bits), packed_bytes(dim, bits)
    groups, held = -(-dim // size), bits * size // 8
    stream = np.zeros((*rows, groups * held), dtype=np.uint8)
    stream[..., :wanted] = packed[..., :wanted]
    words = np.zeros((*rows, groups, 8), dtype=np.uint8)
    words[..., :held] = stream.reshape(*rows, groups, held)
    lanes = words.view("<u8").reshape(*rows, groups)
    values = np.empty((*rows, groups, size), dtype=np.uint8 if bits < 8 else np.uint16)
    mask = np.uint64((1 << bits) - 1)
    for lane in range(size):
        values[..., lane] = (lanes >> np.uint64(bits * lane)) & mask
    return values.reshape(*rows, groups * size)[..., :dim]
