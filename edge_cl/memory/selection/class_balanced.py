"""Greedy class balance: a class below its share takes a row from the largest class."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_cl.memory.rows import Rows
from edge_cl.memory.selection.base import DROP, Selection
from edge_cl.types import Array, Bool, Int64


class ClassBalanced(Selection):
    """The sampler of GDumb: a share of M / (classes seen so far) each.

    Once a class has its share, its later samples are dropped: what stays of a
    class are early samples, thinned at random as classes come.

    References
    ----------
    A. Prabhu et al., GDumb: A simple approach that questions our progress in
    continual learning, ECCV 2020, algorithm 1.
    """

    name: ClassVar[str] = "class_balanced"

    def choose(
        self, rows: Rows, cls: int, rng: np.random.Generator, weight: float | None = None
    ) -> int:
        """See `Selection.choose`."""
        if not rows.full:
            return rows.size
        count = rows.index.size_of(cls)
        n_classes = rows.index.n_classes + (count == 0)
        if count * n_classes >= rows.capacity:
            return DROP
        return self.victim(rows, rng)

    def victim(self, rows: Rows, rng: np.random.Generator) -> int:
        """Slot to give up: a random one of the largest class."""
        slots = largest_class(rows)
        return int(slots[rng.integers(len(slots))])

    def survivors(self, rows: Rows, n_rows: int, rng: np.random.Generator) -> Bool:
        """See `Selection.survivors`; evicts from the largest class, again and again."""
        starts = rows.index.stretches()
        mask = np.zeros(rows.size, dtype=np.bool_)
        for rank, quota in enumerate(level(np.diff(starts), n_rows)):
            members = rows.index.members[starts[rank] : starts[rank + 1]]
            mask[self.keep_of_class(members, int(quota), rng)] = True
        return mask

    def keep_of_class(self, slots: Array, quota: int, rng: np.random.Generator) -> Array:
        """Those `quota` of a class's slots that stay when the memory shrinks: random ones."""
        return rng.choice(slots, quota, replace=False)


def largest_class(rows: Rows) -> Array:
    """Slots of the class that has most, the lowest of them if several do."""
    starts = rows.index.stretches()
    rank = int(np.argmax(np.diff(starts)))
    return rows.index.members[starts[rank] : starts[rank + 1]]


def level(sizes: Int64, total: int) -> Int64:
    """Largest equal shares that sum to `total` with none above its size.

    Parameters
    ----------
    sizes
        (R,) rows of each class, summing to at least `total`.
    total
        Rows to share out.

    Returns
    -------
    (R,) shares: ``min(size, t)``, and one more for the first that can take it.
    """
    ascending = np.sort(sizes)
    below = np.concatenate([[0], np.cumsum(ascending)])
    filled = below[:-1] + ascending * np.arange(len(sizes), 0, -1)
    smaller = int(np.searchsorted(filled, total))
    if smaller == len(sizes):
        return np.asarray(sizes, dtype=np.int64)
    share = (total - int(below[smaller])) // (len(sizes) - smaller)
    shares = np.minimum(sizes, share)
    takers = np.flatnonzero(sizes > share)[: total - int(shares.sum())]
    shares[takers] += 1
    return np.asarray(shares, dtype=np.int64)
