"""Herding: what stays of a class has its mean."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_cl.memory.index import slot_dtype
from edge_cl.memory.rows import Rows
from edge_cl.memory.selection.base import Decode
from edge_cl.memory.selection.class_balanced import ClassBalanced, largest_class
from edge_cl.types import Array, Bool, Float32, Int64

MOST_PICKS = 512
"""Rows of a class that are put in order; the rest share the last place."""


class Herding(ClassBalanced):
    """Greedy class balance that gives up the tail of a class's herding order.

    The order is made when a class is about to lose rows and most of its rows
    have no place in it yet, then kept: shrinking drops the tail. Making it costs
    O(rows of the class) products of latents per row, once. As in
    `ClassBalanced`, a class at its share takes no more samples, so the mean is
    that of the rows kept until then, not of samples that were never kept.
    The order is made between batches: unlike with other policies, how the stream
    is cut into batches has an influence.

    References
    ----------
    S.-A. Rebuffi et al., iCaRL: Incremental classifier and representation learning,
    CVPR 2017, algorithms 4 (construction) and 5 (reduction).
    """

    name: ClassVar[str] = "herding"

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._order: Array = np.zeros(capacity, dtype=slot_dtype(capacity))

    @staticmethod
    def bytes_for(capacity: int) -> int:
        """See `Selection.bytes_for`."""
        return capacity * slot_dtype(capacity).itemsize

    def arrays(self) -> dict[str, Array]:
        """``order``: a row's place in its class's order from 1 on, 0 without one."""
        return {"order": self._order}

    def prepare(self, rows: Rows, decode: Decode) -> None:
        """See `Selection.prepare`; orders the class that is about to lose rows."""
        if not rows.full:
            return
        slots = largest_class(rows)
        if 2 * np.count_nonzero(self._order[slots]) < len(slots):
            self._order[slots] = MOST_PICKS + 1
            picks = herding_order(decode(slots), MOST_PICKS)
            self._order[slots[picks]] = np.arange(1, len(picks) + 1)

    def choose(
        self, rows: Rows, cls: int, rng: np.random.Generator, weight: float | None = None
    ) -> int:
        """See `Selection.choose`."""
        slot = super().choose(rows, cls, rng, weight)
        if slot >= 0:
            self._order[slot] = 0
        return slot

    def victim(self, rows: Rows, rng: np.random.Generator) -> int:
        """See `ClassBalanced.victim`; the tail of the order, a random row if there is none."""
        slots = largest_class(rows)
        order = self._order[slots]
        tail = int(np.argmax(order))
        return int(slots[tail]) if order[tail] else super().victim(rows, rng)

    def arrange(self, rows: Rows, keep: Bool, capacity: int) -> Int64:
        """See `Selection.arrange`."""
        slots = super().arrange(rows, keep, capacity)
        order = self._order[slots]
        self._order = np.zeros(capacity, dtype=slot_dtype(capacity))
        self._order[: len(slots)] = np.minimum(order, MOST_PICKS + 1)
        return slots

    def keep_of_class(self, slots: Array, quota: int, rng: np.random.Generator) -> Array:
        """See `ClassBalanced.keep_of_class`; the head of the order, rows without a place first."""
        return slots[np.argsort(self._order[slots], kind="stable")[:quota]]


def herding_order(latents: Float32, most: int) -> Int64:
    """Rows in the order in which herding picks them.

    Parameters
    ----------
    latents
        (N, D) of one class; they are scaled to unit length first.
    most
        Picks at most.

    Returns
    -------
    (min(N, most),) row numbers: each makes the mean of the picks so far closest
    to the mean of all (Rebuffi et al. 2017, algorithm 4).
    """
    lengths = np.linalg.norm(latents, axis=1, keepdims=True)
    unit = latents / np.maximum(lengths, np.float32(1e-12))
    mean = unit.mean(axis=0)
    picked = np.zeros_like(mean)
    free = np.ones(len(unit), dtype=np.bool_)
    picks = np.zeros(min(len(unit), most), dtype=np.int64)
    for k in range(len(picks)):
        # |mean - (picked + x) / (k + 1)|² grows with |x|² - 2 x·((k + 1) mean - picked), |x| = 1.
        gains = unit @ ((k + 1) * mean - picked)
        gains[~free] = -np.inf
        picks[k] = pick = int(np.argmax(gains))
        free[pick] = False
        picked += unit[pick]
    return picks
