"""Four bits a value."""

from __future__ import annotations

from typing import ClassVar

from edge_cl.codec.scalar import ScalarCodec


class UInt4Codec(ScalarCodec):
    """16 levels over one range, two values in a byte: the best bytes-for-accuracy per record."""

    name: ClassVar[str] = "uint4"
    bits: ClassVar[int] = 4


class UInt4ChannelCodec(UInt4Codec):
    """As `UInt4Codec`, but float latents get one range a channel: 8 D bytes, once."""

    name: ClassVar[str] = "uint4_channel"
    per_channel: ClassVar[bool] = True
