"""Class balance that follows drift: a reservoir within every class."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_cl.memory.rows import Rows
from edge_cl.memory.selection.base import DROP
from edge_cl.memory.selection.class_balanced import ClassBalanced
from edge_cl.types import Array, Bool, Int64


class ClassReservoir(ClassBalanced):
    """Equal shares as in `ClassBalanced`; within a class every sample is equally likely.

    A class at its share of m rows takes its n-th sample with probability m / n, in
    place of a random row of its own: when classes come back in another light, the
    memory follows. For that it counts the samples of each class, in a table with
    room for as many classes as there are rows. Classes beyond that, and classes
    that others were merged into, count from the rows they have.

    References
    ----------
    A. Chrysakis and M.-F. Moens, Online continual learning from imbalanced data,
    ICML 2020, algorithm 1 (class-balancing reservoir sampling).
    """

    name: ClassVar[str] = "class_reservoir"

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._classes: Array = np.zeros(capacity, dtype=np.uint16)
        self._seen: Array = np.zeros(capacity, dtype=np.uint32)

    @staticmethod
    def bytes_for(capacity: int) -> int:
        """See `Selection.bytes_for`."""
        return 6 * capacity

    def arrays(self) -> dict[str, Array]:
        """``table_classes``, ascending, the first `counters[0]` in use; ``table_seen``: samples."""
        return {"table_classes": self._classes, "table_seen": self._seen}

    def choose(
        self, rows: Rows, cls: int, rng: np.random.Generator, weight: float | None = None
    ) -> int:
        """See `Selection.choose`."""
        seen = self._count(rows, cls)
        slot = super().choose(rows, cls, rng, weight)
        if slot != DROP:
            return slot
        draw = int(rng.integers(seen))
        own = rows.index.slots_of(cls)
        return int(own[draw]) if draw < len(own) else DROP

    def arrange(self, rows: Rows, keep: Bool, capacity: int) -> Int64:
        """See `Selection.arrange`."""
        slots = super().arrange(rows, keep, capacity)
        alive = np.isin(self._classes[: self.counters[0]], rows.classes[slots])
        self._retable(alive, capacity)
        return slots

    def _count(self, rows: Rows, cls: int) -> int:
        """Count one more sample of `cls`; how many there were."""
        place = int(np.searchsorted(self._classes[: self.counters[0]], cls))
        if place == self.counters[0] or self._classes[place] != cls:
            if self.counters[0] == len(self._classes):
                used = self._classes[: self.counters[0]]
                self._retable(np.isin(used, rows.index.classes()), len(used))
                place = int(np.searchsorted(self._classes[: self.counters[0]], cls))
            if self.counters[0] == len(self._classes):
                return rows.index.size_of(cls) + 1
            self._insert(place, cls, rows.index.size_of(cls))
        self._seen[place] += 1
        return int(self._seen[place])

    def _insert(self, place: int, cls: int, seen: int) -> None:
        end = self.counters[0]
        for column, value in ((self._classes, cls), (self._seen, seen)):
            column[place + 1 : end + 1] = column[place:end].copy()
            column[place] = value
        self.counters[0] = end + 1

    def _retable(self, alive: Bool, capacity: int) -> None:
        places = np.flatnonzero(alive)
        classes, seen = self._classes[places], self._seen[places]
        self._classes = np.zeros(capacity, dtype=np.uint16)
        self._seen = np.zeros(capacity, dtype=np.uint32)
        self._classes[: len(places)], self._seen[: len(places)] = classes, seen
        self.counters[0] = len(places)
