"""Encoded latents many at a time, compressed: for exports, the disk, and what is cold.

A chunk is a header and a Zstandard frame of the codes laid out column by column
(all rows' first byte, then all rows' second byte, ...), which puts values of one
channel side by side. It carries its own sizes and a checksum of everything else:
a damaged chunk is an error, never wrong latents. The sizes that a chunk declares
are checked before anything is decompressed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import zstandard

from edge_cl.errors import CheckpointError
from edge_cl.types import UInt8

ROWS = 256
"""Rows of a full chunk; larger ones compress no better."""

MOST_ROWS = 1 << 16
"""Rows that a chunk may declare."""

LEVEL = 3
"""Zstandard level; 19 saves 2 to 8 % for some hundred times the work."""

_HEADER = struct.Struct("<4sIIII")  # mark, rows, bytes of a row, bytes of the frame, CRC-32
_MARK = b"ECL1"


def pack_chunk(codes: UInt8, *, level: int = LEVEL, dictionary: bytes | None = None) -> bytes:
    """Compress up to `MOST_ROWS` rows of codes, (N, row_bytes) uint8.

    Parameters
    ----------
    codes
        Encoded latents of one codec.
    level
        Zstandard level, 1 to 22.
    dictionary
        What `train_dictionary` returned; the same is needed to read the chunk.
    """
    rows, row_bytes = codes.shape
    if rows > MOST_ROWS:
        raise ValueError(f"a chunk holds at most {MOST_ROWS} rows, got {rows}")
    columns = np.ascontiguousarray(codes.T).tobytes()
    frame = zstandard.ZstdCompressor(level, _loaded(dictionary)).compress(columns)
    unsigned = _HEADER.pack(_MARK, rows, row_bytes, len(frame), 0)
    checksum = zlib.crc32(frame, zlib.crc32(columns, zlib.crc32(unsigned)))
    return _HEADER.pack(_MARK, rows, row_bytes, len(frame), checksum) + frame


def unpack_chunk(chunk: bytes, row_bytes: int, *, dictionary: bytes | None = None) -> UInt8:
    """Inverse of `pack_chunk`.

    Parameters
    ----------
    chunk
        One chunk, whole.
    row_bytes
        Bytes of a row that the reader's codec expects.
    dictionary
        What the chunk was packed with.

    Raises
    ------
    CheckpointError
        The chunk is truncated, damaged, of another codec, or declares sizes
        beyond the limits.
    """
    rows, checksum = _checked_header(chunk, row_bytes)
    frame = chunk[_HEADER.size :]
    size = rows * row_bytes
    try:
        # The decoder ignores its output limit when a frame declares a size: look first.
        declared = zstandard.get_frame_parameters(frame).content_size
        if declared != size:
            raise CheckpointError(f"chunk: frame declares {declared} bytes instead of {size}")
        columns = zstandard.ZstdDecompressor(_loaded(dictionary)).decompress(frame)
    except zstandard.ZstdError as error:
        raise CheckpointError(f"chunk: damaged, or packed with a dictionary: {error}") from error
    unsigned = _HEADER.pack(_MARK, rows, row_bytes, len(frame), 0)
    if zlib.crc32(frame, zlib.crc32(columns, zlib.crc32(unsigned))) != checksum:
        raise CheckpointError("chunk: damaged, its checksum differs")
    return np.ascontiguousarray(np.frombuffer(columns, np.uint8).reshape(row_bytes, rows).T)


def pack_chunks(codes: UInt8, *, dictionary: bytes | None = None) -> bytes:
    """All rows of `codes` as consecutive chunks of `ROWS` rows."""
    return b"".join(
        pack_chunk(codes[start : start + ROWS], dictionary=dictionary)
        for start in range(0, len(codes), ROWS)
    )


def unpack_chunks(
    stream: bytes, row_bytes: int, *, dictionary: bytes | None = None
) -> Iterator[UInt8]:
    """Rows of each chunk of `pack_chunks` in turn, so that only one is in memory.

    Raises
    ------
    CheckpointError
        As `unpack_chunk`, at the first chunk that is not whole.
    """
    view = memoryview(stream)
    while len(view):
        end = _HEADER.size
        if len(view) >= end:
            end += _HEADER.unpack_from(view)[3]
        yield unpack_chunk(bytes(view[:end]), row_bytes, dictionary=dictionary)
        view = view[end:]


def train_dictionary(codes: UInt8, most_bytes: int = 4096) -> bytes:
    """A Zstandard dictionary of at most `most_bytes` for small chunks of codes like these.

    Raises
    ------
    ValueError
        There are too few rows (some hundreds are needed).
    """
    samples: list[bytes | bytearray | memoryview[int]] = [
        np.ascontiguousarray(part.T).tobytes() for part in _parts(codes, 16)
    ]
    try:
        return zstandard.train_dictionary(most_bytes, samples).as_bytes()
    except zstandard.ZstdError as error:
        raise ValueError(f"{len(codes)} rows are too few for a dictionary: {error}") from error


def _parts(codes: UInt8, rows: int) -> Iterator[UInt8]:
    for start in range(0, len(codes), rows):
        yield codes[start : start + rows]


def _loaded(dictionary: bytes | None) -> zstandard.ZstdCompressionDict | None:
    return zstandard.ZstdCompressionDict(dictionary) if dictionary else None


def _checked_header(chunk: bytes, row_bytes: int) -> tuple[int, int]:
    if len(chunk) < _HEADER.size:
        raise CheckpointError(f"chunk: truncated to {len(chunk)} bytes")
    mark, rows, width, frame_bytes, checksum = _HEADER.unpack_from(chunk)
    if mark != _MARK:
        raise CheckpointError("chunk: not a chunk of encoded latents, or of another version")
    if width != row_bytes:
        raise CheckpointError(f"chunk: rows of {width} bytes, this codec has {row_bytes}")
    if rows > MOST_ROWS:
        raise CheckpointError(f"chunk: declares {rows} rows, at most {MOST_ROWS} are allowed")
    if frame_bytes != len(chunk) - _HEADER.size:
        raise CheckpointError(
            f"chunk: {len(chunk) - _HEADER.size} bytes instead of the {frame_bytes} declared"
        )
    return rows, checksum
