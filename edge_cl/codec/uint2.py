"""Two bits a value, companded by the square root."""

from __future__ import annotations

from typing import ClassVar

from edge_cl.codec.scalar import ScalarCodec


class UInt2Codec(ScalarCodec):
    """4 levels, dense near zero, over one range: four values in a byte.

    For the smallest budgets: twice the exemplars of 4 bits for about one point
    of accuracy at an equal number of exemplars (``docs/memory.md``).
    """

    name: ClassVar[str] = "uint2"
    bits: ClassVar[int] = 2
    companded: ClassVar[bool] = True
