"""Latent codecs: how a latent is kept in bytes.

A codec has a fixed number of bytes per latent (`Codec.row_bytes`), a stated
error (`Codec.error_bound`) and a vectorised decoder, for it runs at every replay
step. ``docs/memory.md`` has the table of bytes, errors and accuracies.
"""

from __future__ import annotations

from edge_cl.codec.base import Codec
from edge_cl.codec.float16 import Float16Codec
from edge_cl.codec.float32 import Float32Codec
from edge_cl.codec.pq import ProductQuantiser
from edge_cl.codec.uint2 import UInt2Codec
from edge_cl.codec.uint3 import UInt3Codec
from edge_cl.codec.uint4 import UInt4ChannelCodec, UInt4Codec
from edge_cl.codec.uint6 import UInt6Codec
from edge_cl.codec.uint7 import UInt7Codec
from edge_cl.codec.uint8 import UInt8ChannelCodec, UInt8Codec
from edge_cl.errors import InvalidOption
from edge_cl.types import LatentSpec

__all__ = ["Codec", "make_codec", "names"]

_CODECS: dict[str, type[Codec]] = {
    codec.name: codec
    for codec in (
        Float32Codec,
        Float16Codec,
        UInt8Codec,
        UInt8ChannelCodec,
        UInt7Codec,
        UInt6Codec,
        UInt4Codec,
        UInt4ChannelCodec,
        UInt3Codec,
        UInt2Codec,
        ProductQuantiser,
    )
}


def names() -> tuple[str, ...]:
    """Names of all codecs, most bytes first."""
    return tuple(_CODECS)


def make_codec(name: str, spec: LatentSpec) -> Codec:
    """Make the codec called `name` for latents of `spec`.

    Raises
    ------
    InvalidOption
        There is no such codec; the message lists those there are.
    """
    if name not in _CODECS:
        raise InvalidOption(f"no codec is called {name!r}; there are: {', '.join(names())}")
    return _CODECS[name](spec)
