"""Latents as they are."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_cl.codec.base import Codec
from edge_cl.types import Float32, LatentSpec, UInt8


class Float32Codec(Codec):
    """Four bytes a value, little-endian, no error."""

    name: ClassVar[str] = "float32"

    def __init__(self, spec: LatentSpec) -> None:
        super().__init__(spec)
        self.row_bytes = 4 * spec.dim

    def encode(self, latents: Float32) -> UInt8:
        """See `Codec.encode`; exact."""
        return np.ascontiguousarray(latents, dtype="<f4").view(np.uint8)

    def decode(self, codes: UInt8) -> Float32:
        """See `Codec.decode`; the result is the caller's own."""
        return np.array(np.ascontiguousarray(codes).view("<f4"), dtype=np.float32)

    def error_bound(self) -> float:
        """Nothing is lost."""
        return 0.0
