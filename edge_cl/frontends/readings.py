"""Sensor readings as text: a row of numbers on each line, with commas between."""

from __future__ import annotations

import io

from edge_cl.errors import InvalidSeries, TooLarge
from edge_cl.frontends.series import MOST_CHANNELS, ROWS

__all__ = ["read_csv"]


def read_csv(content: bytes) -> list[list[float]]:
    """The rows of a CSV file; a first line that has no number in it is a heading.

    Raises
    ------
    InvalidSeries
        If it is no text, or something in it is no number.
    TooLarge
        If it has more rows or channels than any window; no more of it is read.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidSeries(f"it is no CSV file: byte {error.start} is no UTF-8") from error
    rows: list[list[float]] = []
    for number, line in enumerate(io.StringIO(text), 1):
        # Counted before it is split: a line may be as long as the file.
        if line.count(",") >= MOST_CHANNELS:
            raise TooLarge(f"line {number} has more than {MOST_CHANNELS} numbers")
        cells = [cell.strip() for cell in line.split(",")]
        if any(cells) and not (number == 1 and _is_heading(cells)):
            rows.append([_number(cell, number) for cell in cells])
        if len(rows) > ROWS[1]:
            raise TooLarge(f"it has more than {ROWS[1]:,} rows: cut it into windows")
    return rows


def _is_heading(cells: list[str]) -> bool:
    return not any(_is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: str, line: int) -> float:
    if not _is_number(cell):
        raise InvalidSeries(f"line {line}: {cell[:40]!r} is no number")
    return float(cell)
