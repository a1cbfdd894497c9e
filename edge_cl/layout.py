"""How a budget is divided between features, directions of a class, and samples that wait."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from edge_cl import scatter

__all__ = ["NARROWEST", "Layout", "best_layout", "statistics_bytes"]

NARROWEST = 4
"""Features at least, where the latent has so many."""

WIDTH_WORTH = 2.2
"""A feature's worth against a direction's: what width**this * (1 + rank) measures grew evenly
with accuracy on CIFAR-100 (docs/decisions/0010)."""

WIDTHS = 16
"""Parts of the latent's width by which features are given up."""


class Layout(NamedTuple):
    """How the bytes are divided: features, directions of a class, samples that may wait."""

    width: int
    rank: int
    waiting: int


def statistics_bytes(layout: Layout, classes: int, latent_bytes: int) -> int:
    """Bytes of all statistics of that many classes, where a latent waits in `latent_bytes`."""
    width, rank, waiting = layout
    of_class = 3 * width + 16 + rank * (2 * width + 12)
    beside = 4 * width + waiting * (latent_bytes + 8) + 32
    return classes * of_class + scatter.triangle_bytes(width) + beside


@lru_cache(maxsize=64)
def best_layout(
    most: Layout, dim: int, classes: int, latent_bytes: int, allowed_bytes: int
) -> Layout:
    """The layout within `most` that is worth most of those that fit, else the least one.

    Only some widths are considered, parts of `dim`: were any width allowed, each new class
    would take a few features more, until too few were left for good.
    """
    narrowest = min(NARROWEST, most.width)
    best, worth = Layout(narrowest, 0, most.waiting), 0.0
    widths = {-(-dim * part // WIDTHS) for part in range(1, WIDTHS + 1)} | {most.width}
    widths |= {max(dim // WIDTHS >> k, narrowest) for k in range(1, 16)}
    for width in sorted(one for one in widths if narrowest <= one <= most.width):
        fixed, one = (
            statistics_bytes(Layout(width, rank, most.waiting), classes, latent_bytes)
            for rank in (0, 1)
        )
        if fixed > allowed_bytes:
            continue
        rank = min(most.rank, (allowed_bytes - fixed) // max(one - fixed, 1))
        if width**WIDTH_WORTH * (1 + rank) > worth:
            best, worth = Layout(width, rank, most.waiting), width**WIDTH_WORTH * (1 + rank)
    return best
