from __future__ import annotations

import pytest

from edge_cl.budget import format_bytes, parse_bytes
from edge_cl.errors import InvalidOption


@pytest.mark.parametrize(
    ("text", "size"),
    [("8MiB", 8 * 2**20), ("512 kB", 512_000), (65536, 65536), ("1.5KiB", 1536), ("7", 7)],
)
def test_sizes_are_read(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "8 parsecs", "-1MiB", "0", 0, "MiB", True, 1.5, "1e3"])
def test_what_is_no_size_is_refused_with_its_value(text):
    with pytest.raises(InvalidOption, match=r"size"):
        parse_bytes(text)


def test_sizes_are_written():
    assert [format_bytes(n) for n in (10, 2048, 8 * 2**20, 3 * 2**30)] == [
        "10 B",
        "2.0 KiB",
        "8.0 MiB",
        "3.0 GiB",
    ]
