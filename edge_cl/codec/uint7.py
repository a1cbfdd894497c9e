"""Seven bits a value."""

from __future__ import annotations

from typing import ClassVar

from edge_cl.codec.scalar import ScalarCodec


class UInt7Codec(ScalarCodec):
    """128 levels over one range, packed: 8 values in 7 bytes."""

    name: ClassVar[str] = "uint7"
    bits: ClassVar[int] = 7
