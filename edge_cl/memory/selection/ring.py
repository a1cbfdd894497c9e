"""First in, first out."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_cl.memory.rows import Rows
from edge_cl.memory.selection.base import Selection
from edge_cl.types import Bool, Int64


class Ring(Selection):
    """One queue for the whole memory, not one a class: the last M samples stay.

    A sliding window: it follows drift and forgets what does not come again.
    """

    name: ClassVar[str] = "ring"

    def choose(
        self, rows: Rows, cls: int, rng: np.random.Generator, weight: float | None = None
    ) -> int:
        """See `Selection.choose`; `counters[0]` is the slot of the oldest row once full."""
        if not rows.full:
            return rows.size
        slot = self.counters[0]
        self.counters[0] = (slot + 1) % rows.capacity
        return slot

    def survivors(self, rows: Rows, n_rows: int, rng: np.random.Generator) -> Bool:
        """See `Selection.survivors`; the newest stay."""
        mask = np.zeros(rows.size, dtype=np.bool_)
        mask[self._oldest_first(rows)[rows.size - n_rows :]] = True
        return mask

    def arrange(self, rows: Rows, keep: Bool, capacity: int) -> Int64:
        """See `Selection.arrange`; oldest first."""
        slots = self._oldest_first(rows)
        self.counters[0] = 0
        return slots[keep[slots]]

    def _oldest_first(self, rows: Rows) -> Int64:
        return np.roll(np.arange(rows.size, dtype=np.int64), -self.counters[0])
