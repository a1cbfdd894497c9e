from __future__ import annotations

import struct

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_cl.codec.chunks import (
    MOST_ROWS,
    pack_chunk,
    pack_chunks,
    train_dictionary,
    unpack_chunk,
    unpack_chunks,
)
from edge_cl.errors import CheckpointError
from edge_cl.types import UInt8


def skewed(rows: int, row_bytes: int, seed: int = 0) -> UInt8:
    scales = np.random.default_rng(1).gamma(1, 20, row_bytes)
    latents = np.random.default_rng(seed).exponential(scales, (rows, row_bytes))
    return np.minimum(latents, 255).astype(np.uint8)


@given(st.integers(0, 300), st.integers(1, 40), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_round_trip(rows: int, row_bytes: int, seed: int) -> None:
    codes = skewed(rows, row_bytes, seed)
    np.testing.assert_array_equal(unpack_chunk(pack_chunk(codes), row_bytes), codes)


@pytest.mark.parametrize("rows", [0, 1, 256, 257, 700])
def test_many_chunks(rows: int) -> None:
    codes = skewed(rows, 12)
    parts = [codes[:0], *unpack_chunks(pack_chunks(codes), 12)]
    np.testing.assert_array_equal(np.concatenate(parts), codes)
    assert all(len(part) <= 256 for part in parts)


def test_skewed_codes_shrink() -> None:
    assert len(pack_chunk(skewed(256, 512))) < 0.8 * 256 * 512


def test_a_dictionary_is_needed_again() -> None:
    dictionary = train_dictionary(skewed(2000, 16))
    codes = skewed(8, 16, seed=5)
    chunk = pack_chunk(codes, dictionary=dictionary)
    np.testing.assert_array_equal(unpack_chunk(chunk, 16, dictionary=dictionary), codes)
    with pytest.raises(CheckpointError, match="dictionary"):
        unpack_chunk(chunk, 16)
    with pytest.raises(ValueError, match="too few"):
        train_dictionary(skewed(2, 16))


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_a_flipped_bit_is_an_error(data: st.DataObject) -> None:
    chunk = bytearray(pack_chunk(skewed(20, 6)))
    bit = data.draw(st.integers(0, 8 * len(chunk) - 1))
    chunk[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(CheckpointError):
        unpack_chunk(bytes(chunk), 6)


def test_a_truncated_chunk_is_an_error() -> None:
    chunk = pack_chunk(skewed(20, 6))
    for end in range(len(chunk)):
        with pytest.raises(CheckpointError):
            unpack_chunk(chunk[:end], 6)
    with pytest.raises(CheckpointError, match="truncated"):
        list(unpack_chunks(chunk + chunk[:9], 6))


def test_a_chunk_of_another_codec_is_an_error() -> None:
    with pytest.raises(CheckpointError, match="rows of 6 bytes, this codec has 7"):
        unpack_chunk(pack_chunk(skewed(20, 6)), 7)


def test_declared_sizes_are_checked_before_decompressing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame of 4 GiB of zeros is a few hundred kilobytes: it must not be opened."""
    monkeypatch.setattr(zstandard, "ZstdDecompressor", None)
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 22))
    too_many = struct.pack("<4sIIII", b"ECL1", MOST_ROWS + 1, 64, len(bomb), 0) + bomb
    with pytest.raises(CheckpointError, match="65537 rows"):
        unpack_chunk(too_many, 64)
    lying = struct.pack("<4sIIII", b"ECL1", 10, 64, len(bomb), 0) + bomb
    with pytest.raises(CheckpointError, match="declares 4194304 bytes instead of 640"):
        unpack_chunk(lying, 64)
    with pytest.raises(ValueError, match="at most"):
        pack_chunk(np.zeros((MOST_ROWS + 1, 1), np.uint8))
