"""Random projections that take no memory to speak of."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edge_cl.types import Float32, Int8


def walsh_hadamard(rows: Float32) -> Float32:
    """Walsh-Hadamard transform of each row, unnormalised; the length is a power of two."""
    count, length = rows.shape
    half = 1
    while half < length:
        pairs = rows.reshape(count, -1, 2, half)
        rows = np.stack((pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]), axis=2)
        half *= 2
    return rows.reshape(count, length)


@dataclass(frozen=True)
class StructuredProjection:
    """Orthogonal random features without a stored matrix (Yu et al. 2016, eq. 4, "SORF").

    Blocks of three random sign changes, each followed by a Walsh-Hadamard transform, stand
    for a dense Gaussian matrix with unit-variance entries: 3 bytes an output instead of
    4 * dim, and O(log dim) operations an output instead of O(dim).

    Parameters
    ----------
    dim
        Width of the input.
    width
        Width of the output.
    seed
        Of the signs; the same seed gives the same projection on any machine.
    """

    dim: int
    width: int
    seed: int
    signs: Int8 = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        bits = np.random.Generator(np.random.PCG64(self.seed)).integers(
            0, 2, (3, self.blocks, self.length), dtype=np.int8
        )
        object.__setattr__(self, "signs", (2 * bits - 1).astype(np.int8))

    @property
    def length(self) -> int:
        """Length of the transform: the power of two that holds `dim`."""
        return 1 << (self.dim - 1).bit_length()

    @property
    def blocks(self) -> int:
        """Transforms that are needed for `width` outputs."""
        return -(-self.width // self.length)

    def __call__(self, rows: Float32) -> Float32:
        """Project (N, dim) `rows` to (N, width)."""
        count = len(rows)
        padded = np.zeros((count, 1, self.length), dtype=np.float32)
        padded[:, 0, : self.dim] = rows
        out = np.broadcast_to(padded, (count, self.blocks, self.length))
        for signs in self.signs:
            flipped = (out * signs).reshape(-1, self.length)
            out = walsh_hadamard(flipped).reshape(count, self.blocks, self.length)
        # Three transforms scale by length^1.5; a Gaussian matrix has rows of norm sqrt(length).
        return out.reshape(count, -1)[:, : self.width] * np.float32(1 / self.length)
