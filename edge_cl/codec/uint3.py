"""Three bits a value, companded by the square root."""

from __future__ import annotations

from typing import ClassVar

from edge_cl.codec.scalar import ScalarCodec


class UInt3Codec(ScalarCodec):
    """8 levels, dense near zero, over one range: 8 values in 3 bytes."""

    name: ClassVar[str] = "uint3"
    bits: ClassVar[int] = 3
    companded: ClassVar[bool] = True
