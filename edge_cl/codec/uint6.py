"""Six bits a value."""

from __future__ import annotations

from typing import ClassVar

from edge_cl.codec.scalar import ScalarCodec


class UInt6Codec(ScalarCodec):
    """64 levels over one range, packed: 4 values in 3 bytes."""

    name: ClassVar[str] = "uint6"
    bits: ClassVar[int] = 6
