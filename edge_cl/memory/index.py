"""Which slots hold which class, in three flat arrays of fixed size.

The slots are listed grouped by class, in ascending class order::

    members  [ slots of the lowest class | slots of the next | ... ]
    starts   where each of these stretches begins, and where the last one ends
    places   where in members a slot stands

A uniform draw from any class is one look-up, and drawing many rows is one
vectorised gather. A slot that changes its class shifts one entry for each class
in between (one vectorised gather and scatter), whatever the number of rows and
however long the stream. Only classes that have rows take space, and there are
at most as many of those as slots: so the bytes are fixed by the capacity.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_cl.types import Array, Int64


def slot_dtype(capacity: int) -> np.dtype[Any]:
    """Smallest unsigned type that can number `capacity` slots."""
    return np.dtype(np.uint16 if capacity <= np.iinfo(np.uint16).max else np.uint32)


def index_bytes(capacity: int) -> int:
    """Bytes of the three arrays of a `ClassIndex`."""
    return (3 * capacity + 1) * slot_dtype(capacity).itemsize


class ClassIndex:
    """The slots of every class.

    Parameters
    ----------
    classes
        (M,) the class of each slot: the memory's own array, read here and
        written by the memory *after* the index has been told.
    """

    def __init__(self, classes: Array) -> None:
        capacity = len(classes)
        dtype = slot_dtype(capacity)
        self._classes = classes
        self.members: Array = np.zeros(capacity, dtype=dtype)
        self.places: Array = np.zeros(capacity, dtype=dtype)
        self.starts: Array = np.zeros(capacity + 1, dtype=dtype)
        self.n_classes = 0

    def build(self, size: int) -> None:
        """Index the first `size` slots from their classes."""
        classes = self._classes[:size]
        order = np.argsort(classes, kind="stable")
        self.members[:size] = order
        self.places[order] = np.arange(size)
        firsts = np.flatnonzero(np.diff(classes[order], prepend=-1)) if size else order
        self.n_classes = len(firsts)
        self.starts[: len(firsts)] = firsts
        self.starts[len(firsts)] = size

    def stretches(self) -> Int64:
        """(R + 1,) begins of the R stretches, and the end of the last."""
        return self.starts[: self.n_classes + 1].astype(np.int64)

    def classes(self) -> Int64:
        """(R,) the classes that have rows, ascending."""
        return self._classes[self.members[self.starts[: self.n_classes]]].astype(np.int64)

    def sizes(self) -> Int64:
        """(R,) rows of each of `classes`."""
        return np.diff(self.stretches())

    def size_of(self, cls: int) -> int:
        """Rows of class `cls`."""
        rank, known = self.rank(cls)
        return int(self.starts[rank + 1]) - int(self.starts[rank]) if known else 0

    def slots_of(self, cls: int) -> Array:
        """Slots of class `cls`, a view, in no particular order."""
        rank, known = self.rank(cls)
        if not known:
            return self.members[:0]
        return self.members[self.starts[rank] : self.starts[rank + 1]]

    def rank(self, cls: int) -> tuple[int, bool]:
        """Position of `cls` among the classes that have rows, and whether it is one of them."""
        low, high = 0, self.n_classes
        while low < high:
            middle = (low + high) // 2
            if self._class_at(middle) < cls:
                low = middle + 1
            else:
                high = middle
        return low, low < self.n_classes and self._class_at(low) == cls

    def insert(self, slot: int, cls: int) -> None:
        """List `slot` under `cls`; the slot must not be listed."""
        rank, known = self.rank(cls)
        starts = self.starts
        end = self.n_classes
        if not known:
            starts[rank + 1 : end + 2] = starts[rank : end + 1].copy()
            self.n_classes = end = end + 1
        # The first slot of every later stretch steps to that stretch's new last place.
        bounds = starts[rank + 1 : end + 1].astype(np.int64)
        self._shift(bounds[:-1], bounds[1:])
        starts[rank + 1 : end + 1] += 1
        place = int(starts[rank + 1]) - 1
        self.members[place] = slot
        self.places[slot] = place

    def remove(self, slot: int) -> None:
        """Take `slot` off the list of its class."""
        # The last slot of its stretch fills the hole, and the last of every later
        # stretch fills the one before it; where two land on one place, the later wins.
        rank, _ = self.rank(int(self._classes[slot]))
        end = self.n_classes
        lasts = self.starts[rank + 1 : end + 1].astype(np.int64) - 1
        holes = np.concatenate([[int(self.places[slot])], lasts[:-1]])
        self._shift(lasts, holes)
        self.starts[rank + 1 : end + 1] -= 1
        if self.starts[rank] == self.starts[rank + 1]:
            self.starts[rank:end] = self.starts[rank + 1 : end + 1].copy()
            self.n_classes = end - 1

    def swap(self, one: int, other: int) -> None:
        """The rows of two listed slots change places; call it before the classes do."""
        first, second = int(self.places[one]), int(self.places[other])
        self.members[first], self.members[second] = other, one
        self.places[one], self.places[other] = second, first

    def _class_at(self, rank: int) -> int:
        return int(self._classes[self.members[self.starts[rank]]])

    def _shift(self, sources: Int64, targets: Int64) -> None:
        moved = self.members[sources]
        self.members[targets] = moved
        self.places[moved] = targets
