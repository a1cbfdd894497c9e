"""Small numbers packed tightly: `bits` bits each, little-endian, rows padded to whole bytes."""

from __future__ import annotations

import numpy as np

from edge_cl.types import UInt8

GROUP = 8
"""Values that share one word: 8 values of b bits fill exactly b bytes."""


def packed_bytes(dim: int, bits: int) -> int:
    """Bytes of a row of `dim` values of `bits` bits."""
    return (dim * bits + 7) // 8


def pack(values: UInt8, bits: int) -> UInt8:
    """Pack rows of values.

    Parameters
    ----------
    values
        (N, D) uint8, each below ``2**bits``.
    bits
        1 to 8.

    Returns
    -------
    (N, packed_bytes(D, bits)) uint8
    """
    if bits == GROUP:
        return np.ascontiguousarray(values)
    rows, dim = values.shape
    groups = -(-dim // GROUP)
    padded = np.zeros((rows, groups * GROUP), dtype=np.uint8)
    padded[:, :dim] = values
    lanes = padded.reshape(rows, groups, GROUP)
    words = np.zeros((rows, groups), dtype="<u8")
    for lane in range(GROUP):
        words |= lanes[:, :, lane].astype("<u8") << np.uint64(bits * lane)
    stream = words.view(np.uint8).reshape(rows, groups, GROUP)[:, :, :bits]
    return np.ascontiguousarray(stream.reshape(rows, groups * bits)[:, : packed_bytes(dim, bits)])


def unpack(packed: UInt8, bits: int, dim: int) -> UInt8:
    """Inverse of `pack`: (N, dim) uint8 values of (N, packed_bytes(dim, bits)) bytes."""
    if bits == GROUP:
        return packed
    rows = len(packed)
    groups = -(-dim // GROUP)
    stream = np.zeros((rows, groups * bits), dtype=np.uint8)
    stream[:, : packed.shape[1]] = packed
    words = np.zeros((rows, groups, GROUP), dtype=np.uint8)
    words[:, :, :bits] = stream.reshape(rows, groups, bits)
    lanes = words.view("<u8").reshape(rows, groups)
    values = np.empty((rows, groups, GROUP), dtype=np.uint8)
    mask = np.uint64((1 << bits) - 1)
    for lane in range(GROUP):
        values[:, :, lane] = (lanes >> np.uint64(bits * lane)) & mask
    return values.reshape(rows, groups * GROUP)[:, :dim]
