"""Four bits a value."""

from __future__ import annotations

from typing import ClassVar

from edge_cl.codec.scalar import ScalarCodec


class UInt4Codec(ScalarCodec):
    """16 levels, dense near zero, over one range: two values in a byte.

    On the latents of a rectified, average-pooled network the square-root axis
    has a smaller mean error than equal steps, and a much smaller one after
    power normalisation (``docs/memory.md``).
    """

    name: ClassVar[str] = "uint4"
    bits: ClassVar[int] = 4
    companded: ClassVar[bool] = True


class UInt4ChannelCodec(UInt4Codec):
    """As `UInt4Codec`, but float latents get one range a channel: 8 D bytes, once."""

    name: ClassVar[str] = "uint4_channel"
    per_channel: ClassVar[bool] = True
