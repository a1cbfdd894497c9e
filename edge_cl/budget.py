"""Bytes as people write them."""

from __future__ import annotations

import re

from edge_cl.errors import InvalidOption

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}


def parse_bytes(size: str | int) -> int:
    """Bytes of a size such as ``"8MiB"``, ``"512 kB"`` or ``65536``.

    Raises
    ------
    InvalidOption
        If `size` is no positive number with one of the units B, kB, MB, GB, KiB,
        MiB, GiB.
    """
    if isinstance(size, bool) or not isinstance(size, int | str):
        raise InvalidOption(f"a size must be a number or a string such as '8MiB', got {size!r}")
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(size))
    if match is None or match[2].lower() not in _UNITS:
        raise InvalidOption(
            f"{size!r} is no size: write a number with B, kB, MB, GB, KiB, MiB or GiB, "
            "for example '8MiB'"
        )
    total = int(float(match[1]) * _UNITS[match[2].lower()])
    if total <= 0:
        raise InvalidOption(f"a size must be above zero, got {size!r}")
    return total


def format_bytes(size: int) -> str:
    """`size` with the largest binary unit that leaves a number of at least one."""
    number = float(size)
    for unit in ("B", "KiB", "MiB"):
        if abs(number) < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"
