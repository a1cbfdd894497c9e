"""One byte a value: the extractor's own codes, or an affine grid for float latents."""

from __future__ import annotations

from typing import ClassVar

from edge_cl.codec.scalar import ScalarCodec
from edge_cl.types import Float32, UInt8


class UInt8Codec(ScalarCodec):
    """Passes the extractor's codes through; float latents get 256 levels over one range.

    With extractor codes nothing is lost: ``encode(spec.to_float(codes)) == codes``.
    """

    name: ClassVar[str] = "uint8"
    bits: ClassVar[int] = 8

    def encode(self, latents: Float32) -> UInt8:
        """See `Codec.encode`."""
        return self.spec.to_codes(latents) if self.spec.quantised else super().encode(latents)

    def decode(self, codes: UInt8) -> Float32:
        """See `Codec.decode`; equal to ``spec.to_float(codes)`` with extractor codes."""
        return self.spec.to_float(codes) if self.spec.quantised else super().decode(codes)


class UInt8ChannelCodec(UInt8Codec):
    """As `UInt8Codec`, but float latents get one range a channel: 8 D bytes, once."""

    name: ClassVar[str] = "uint8_channel"
    per_channel: ClassVar[bool] = True
