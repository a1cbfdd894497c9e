"""Compressed rows with their labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_cl.codec import Codec
from edge_cl.codec.chunks import pack_chunk, unpack_chunk
from edge_cl.errors import CheckpointError
from edge_cl.types import Array, Int64, UInt8


@dataclass(frozen=True)
class Labels:
    """Classes (n,) uint16, contexts (n,) int16 and ids (n,) int64 of some rows."""

    classes: Array
    contexts: Array
    ids: Array

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, rows: Int64) -> Labels:
        """The labels of these rows, a copy."""
        return Labels(self.classes[rows], self.contexts[rows], self.ids[rows])

    @staticmethod
    def concat(parts: list[Labels]) -> Labels:
        """All labels, in order."""
        return Labels(
            np.concatenate([np.zeros(0, np.uint16), *(part.classes for part in parts)]),
            np.concatenate([np.zeros(0, np.int16), *(part.contexts for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.ids for part in parts)]),
        )


@dataclass(frozen=True)
class Chunk:
    """The codes of some rows as `pack_chunk` gives them, and their labels."""

    content: bytes
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


def compressed(codes: UInt8, labels: Labels) -> Chunk:
    """The chunk of these rows."""
    return Chunk(pack_chunk(codes), labels)


def decompressed(chunk: Chunk, codec: Codec) -> UInt8:
    """Codes of a chunk's rows, (n, row_bytes).

    Raises
    ------
    CheckpointError
        The chunk is damaged, of another codec, or has another number of rows.
    """
    codes = unpack_chunk(chunk.content, codec.row_bytes)
    if len(codes) != len(chunk):
        raise CheckpointError(f"chunk: {len(codes)} rows, but labels of {len(chunk)}")
    return codes
