"""The rows of a replay memory: flat arrays of a fixed capacity, and the class index."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_cl.errors import InvalidInput
from edge_cl.memory.index import ClassIndex, index_bytes
from edge_cl.state import Slot, enlarged
from edge_cl.types import Array, Batch, Int64, UInt8

LABEL_BYTES = 2 + 2 + 8
"""Bytes of a row beside its code: class (uint16), context (int16), sample id (int64)."""

MOST_CLASSES = 1 << 16
"""Classes are kept in 16 bits."""

MOST_CONTEXTS = 1 << 15
"""Context ids are kept in 15 bits and a sign."""


class Rows:
    """Encoded latents with their classes, contexts and ids; the first `size` are in use.

    The arrays are allocated at capacity; the operating system backs them with
    memory page by page as rows are written.

    Parameters
    ----------
    capacity
        Rows there is room for.
    row_bytes
        Bytes of one encoded latent.
    columns
        What else is kept of each row, by name: shape and type of one row's value.
    """

    def __init__(
        self, capacity: int, row_bytes: int, columns: Mapping[str, Slot] | None = None
    ) -> None:
        self.capacity = capacity
        self.size = 0
        self.codes: UInt8 = np.zeros((capacity, row_bytes), dtype=np.uint8)
        self.classes: Array = np.zeros(capacity, dtype=np.uint16)
        self.contexts: Array = np.zeros(capacity, dtype=np.int16)
        self.ids: Array = np.zeros(capacity, dtype=np.int64)
        self.columns: dict[str, Array] = {
            name: np.zeros((capacity, *slot.shape), dtype=slot.dtype)
            for name, slot in (columns or {}).items()
        }
        self.index = ClassIndex(self.classes)

    @staticmethod
    def bytes_for(capacity: int, row_bytes: int) -> int:
        """Bytes of all arrays at `capacity`."""
        return capacity * (row_bytes + LABEL_BYTES) + index_bytes(capacity)

    @property
    def full(self) -> bool:
        """Whether every slot is in use."""
        return self.size >= self.capacity

    def write(self, slot: int, cls: int, context: int, sample_id: int) -> None:
        """Put a sample's labels into `slot`: the next free one, or one in use.

        Its code is written by the caller, many rows at a time.
        """
        if slot == self.size:
            self.size += 1
            self.index.insert(slot, cls)
        elif self.classes[slot] != cls:
            self.index.remove(slot)
            self.index.insert(slot, cls)
        self.classes[slot] = cls
        self.contexts[slot] = context
        self.ids[slot] = sample_id

    def swap(self, one: int, other: int) -> None:
        """Two rows in use change places."""
        if one == other:
            return
        self.index.swap(one, other)
        for column in (self.codes, self.classes, self.contexts, self.ids, *self.columns.values()):
            column[[one, other]] = column[[other, one]]

    @property
    def column_slots(self) -> dict[str, Slot]:
        """Shape and type of one row's value in each column."""
        return {name: Slot(c.shape[1:], c.dtype) for name, c in self.columns.items()}

    def arranged(
        self, slots: Int64, capacity: int, columns: Mapping[str, Slot] | None = None
    ) -> Rows:
        """New rows of `capacity` that hold `slots`, in that order; columns may have grown."""
        columns = self.column_slots if columns is None else columns
        new = Rows(capacity, self.codes.shape[1], columns)
        new.size = n = len(slots)
        new.codes[:n] = self.codes[slots]
        new.classes[:n] = self.classes[slots]
        new.contexts[:n] = self.contexts[slots]
        new.ids[:n] = self.ids[slots]
        for name, slot in columns.items():
            kept = self.columns[name][slots]
            new.columns[name][:n] = enlarged(kept, Slot((n, *slot.shape), slot.dtype))
        new.index.build(n)
        return new

    def arrays(self) -> dict[str, Array]:
        """All arrays by name: the rows' own, not copies."""
        return {
            "codes": self.codes,
            "classes": self.classes,
            "contexts": self.contexts,
            "ids": self.ids,
            "members": self.index.members,
            "places": self.index.places,
            "starts": self.index.starts,
            **{f"column.{name}": column for name, column in self.columns.items()},
        }


def check_labels(batch: Batch) -> None:
    """Raise InvalidInput if a class or context id is beyond what a row can hold."""
    if batch.classes.min() < 0 or batch.classes.max() >= MOST_CLASSES:
        raise InvalidInput(f"classes are kept as 0 to {MOST_CLASSES - 1}")
    if batch.contexts.min() < -1 or batch.contexts.max() >= MOST_CONTEXTS:
        raise InvalidInput(f"contexts are kept as -1 to {MOST_CONTEXTS - 1}")
