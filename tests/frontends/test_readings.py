"""Sensor readings as CSV."""

import pytest

from edge_cl.errors import InvalidSeries, TooLarge
from edge_cl.frontends.readings import read_csv
from edge_cl.frontends.series import MOST_CHANNELS, ROWS


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"1,2\n3,4\n", [[1, 2], [3, 4]]),
        (b"\xef\xbb\xbfx, y\r\n 1 , -2e3\r\n\r\n", [[1, -2000]]),
        (b"1.5", [[1.5]]),
        (b"", []),
        (b"x,y", []),
    ],
)
def test_rows_of_numbers(content, rows):
    assert read_csv(content) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,2\n3,x\n", "line 2: 'x' is no number"),
        (b"x,1\n", "line 1: 'x' is no number"),
        (b"1,,2\n", "line 1: '' is no number"),
        (b"\xff\xd8\xff", "byte 0 is no UTF-8"),
    ],
)
def test_what_is_no_number_is_named(content, message):
    with pytest.raises(InvalidSeries, match=message):
        read_csv(content)


@pytest.mark.parametrize(
    "content",
    [b"1" + b",1" * MOST_CHANNELS, b"1\n" * (ROWS[1] + 1), b"," * 5_000_000],
    ids=["channels", "rows", "line"],
)
def test_no_more_is_read_than_a_window_has(content):
    with pytest.raises(TooLarge):
        read_csv(content)
