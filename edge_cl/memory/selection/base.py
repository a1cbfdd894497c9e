"""What a selection policy is: it says which slot a new sample takes, if any."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from edge_cl.memory.rows import Rows
from edge_cl.types import Bool, Int64

DROP = -1
"""The answer of `Selection.choose` for a sample that is not kept."""

COUNTERS = 6
"""Integers that a policy may keep from one sample to the next."""


class Selection(ABC):
    """Decides which samples stay in a memory that cannot hold all.

    Its whole state is `counters`. Whatever the policy, a memory that is not
    full takes every sample.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self.counters = [0] * COUNTERS

    @abstractmethod
    def choose(self, rows: Rows, cls: int, rng: np.random.Generator) -> int:
        """Slot for the next sample, of class `cls`: ``rows.size``, one in use, or `DROP`."""

    def admit(self, rows: Rows, n_samples: int) -> None:
        """Refuse `n_samples` more before any of them is offered.

        Raises
        ------
        BudgetExceeded
            The policy evicts nothing, and there is no room.
        """
        return

    def begin_experience(self, rows: Rows, index: int) -> None:
        """A new experience begins."""
        return

    def end_experience(self, rows: Rows) -> None:
        """The present experience is over."""
        return

    def survivors(self, rows: Rows, n_rows: int, rng: np.random.Generator) -> Bool:
        """(size,) mask of the `n_rows` rows that stay when the memory shrinks."""
        mask = np.zeros(rows.size, dtype=np.bool_)
        mask[rng.choice(rows.size, n_rows, replace=False)] = True
        return mask

    def arrange(self, rows: Rows, keep: Bool) -> Int64:
        """Slots of the rows to `keep`, in the order in which they are to stand from now on."""
        return np.flatnonzero(keep)
