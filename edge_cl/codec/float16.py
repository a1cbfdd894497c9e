"""Latents in half precision."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_cl.codec.base import Codec, widest
from edge_cl.types import Float32, LatentSpec, UInt8

LARGEST = 65504.0
"""Largest finite value of half precision; what lies beyond saturates there."""


class Float16Codec(Codec):
    """Two bytes a value: 11 significant bits.

    The error is at most ``2**-11`` of a value's magnitude (and ``2**-25`` below
    the smallest normal number, ``2**-14``).
    """

    name: ClassVar[str] = "float16"

    def __init__(self, spec: LatentSpec) -> None:
        super().__init__(spec)
        self.row_bytes = 2 * spec.dim

    def covers(self, latents: Float32) -> bool:
        """Whether no value of `latents` would saturate."""
        return widest(latents) <= LARGEST

    def encode(self, latents: Float32) -> UInt8:
        """See `Codec.encode`; rounds to nearest."""
        return np.clip(latents, -LARGEST, LARGEST).astype("<f2").view(np.uint8)

    def decode(self, codes: UInt8) -> Float32:
        """See `Codec.decode`."""
        return np.ascontiguousarray(codes).view("<f2").astype(np.float32)

    def error_bound(self) -> float:
        """Half the step between the two largest numbers, 16; see the class for small ones."""
        return 16.0
