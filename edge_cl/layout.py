"""How a budget is divided between features, directions of a class, and samples that wait."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from edge_cl import scatter
from edge_cl.codec.bits import packed_bytes

__all__ = ["NARROWEST", "Layout", "best_layout", "statistics_bytes"]

NARROWEST = 4
"""Features at least, where the latent has so many."""

WIDTH_WORTH, DIRECTION_WORTH = 1.07, 0.6
"""What width**this * (1 + directions**that) measures grew with accuracy on CIFAR-100
(docs/decisions/0017)."""

FEW = 3
"""Directions of a class that come before any of them has all features."""

WIDTHS, OWN_STEP = 32, 8
"""Parts of the latent's width by which features are given up; and, of those that directions
have, how many at a time."""

WAITING_PART, LEAST_WAITING, MOST_WAITING = 16, 4, 64
"""Part of the budget for samples that wait to be added, and how many may."""

MEAN_BITS, FEW_BITS, MANY_BITS = 12, 4, 8
"""Of a value of a class's mean; and of a published direction, as long as there are not all
directions in more, and then."""


class Layout(NamedTuple):
    """How the bytes are divided."""

    width: int
    """Features."""
    own: int
    """How many of them the directions of a class have."""
    rank: int
    """Directions of a class."""
    waiting: int
    """Samples that may wait."""
    bits: int = FEW_BITS
    """Of a value of a published direction."""


def statistics_bytes(layout: Layout, classes: int) -> int:
    """Bytes of all statistics of that many classes."""
    width, own, rank, waiting, bits = layout
    of_class = width + packed_bytes(width, MEAN_BITS) + 2 * packed_bytes(width, 1) + 20
    of_class += rank * direction_bytes(own, bits)
    beside = 4 * width + waiting * (width + 12) + 48
    return classes * of_class + scatter.triangle_bytes(width) + beside


def direction_bytes(own: int, bits: int) -> int:
    """Bytes of a direction of so many features, learned and published."""
    return own + packed_bytes(own, bits) + 12


@lru_cache(maxsize=64)
def best_layout(most: Layout, dim: int, classes: int, allowed_bytes: int) -> Layout:
    """The layout within `most` that is worth most of those that fit, else the least one.

    Few directions come first, in as many features as there is room for; more of them when
    they have all features. Only some widths are considered, parts of `dim`: were any width
    allowed, each new class would take a few features more, until too few were left for good.
    """
    narrowest = min(NARROWEST, most.width)
    best, highest = Layout(narrowest, narrowest, 0, LEAST_WAITING), -1.0
    widths = {-(-dim * part // WIDTHS) for part in range(1, WIDTHS + 1)} | {most.width}
    widths |= {max(dim // WIDTHS >> k, narrowest) for k in range(1, 16)}
    for width in sorted(one for one in widths if narrowest <= one <= most.width):
        part = allowed_bytes // WAITING_PART // (width + 12)
        waiting = min(max(part, LEAST_WAITING), most.waiting)
        if width == most.width == most.own:
            whole_in_many = most._replace(waiting=waiting, bits=MANY_BITS)
            if statistics_bytes(whole_in_many, classes) <= allowed_bytes:
                return whole_in_many
        bare = Layout(width, min(width, most.own), 0, waiting)
        left = allowed_bytes - statistics_bytes(bare, classes)
        if left < 0:
            continue
        of_all_features = classes * direction_bytes(width, FEW_BITS)
        directions = min(left / max(of_all_features, 1), most.rank)
        worth = width**WIDTH_WORTH * (1 + directions**DIRECTION_WORTH)
        if worth <= highest:
            continue
        rank = max(int(directions), min(FEW, most.rank))
        while rank and (own := own_features(left, classes, rank)) < narrowest:
            rank -= 1
        own = min(own, bare.own) if rank else bare.own
        best, highest = bare._replace(own=own, rank=rank), worth
    return best


def own_features(left_bytes: int, classes: int, rank: int) -> int:
    """How many features so many directions of each class can have in so many bytes."""
    of_row = left_bytes // max(classes * rank, 1) - 12
    return max(of_row * 8 // (8 + FEW_BITS) // OWN_STEP * OWN_STEP, 0)
