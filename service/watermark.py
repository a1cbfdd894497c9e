"""How far a journal reached, in a file of its own beside it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

__all__ = ["pack_watermark", "read_watermark", "watermark_path"]


def watermark_path(path: Path) -> Path:
    """The file that says how far a journal reached."""
    return path.with_suffix(".watermark")


def pack_watermark(sequence: int, next_id: int) -> bytes:
    """Bytes of a watermark, with their CRC32."""
    content = struct.pack("<qq", sequence, next_id)
    return content + struct.pack("<I", zlib.crc32(content))


def read_watermark(path: Path) -> tuple[int, int]:
    """How far the journal at `path` reached; (0, 1) when nothing readable says it."""
    try:
        stored = watermark_path(path).read_bytes()
    except OSError:
        return 0, 1
    if len(stored) != 20 or zlib.crc32(stored[:16]) != struct.unpack("<I", stored[16:])[0]:
        return 0, 1
    sequence, next_id = struct.unpack("<qq", stored[:16])
    return sequence, next_id
