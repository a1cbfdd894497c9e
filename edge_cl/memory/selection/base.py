"""What a selection policy is: it says which slot a new sample takes, if any."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from edge_cl.memory.rows import Rows
from edge_cl.types import Array, Bool, Float32, Int64

Decode = Callable[[Array], Float32]

DROP = -1
"""The answer of `Selection.choose` for a sample that is not kept."""

COUNTERS = 6
"""Integers that a policy may keep from one sample to the next."""


class Selection(ABC):
    """Decides which samples stay in a memory that cannot hold all.

    Its whole state is `counters` and `arrays`. Whatever the policy, a memory
    that is not full takes every sample.

    Parameters
    ----------
    capacity
        Rows of the memory.
    """

    name: ClassVar[str]

    def __init__(self, capacity: int) -> None:
        self.counters = [0] * COUNTERS

    @staticmethod
    def bytes_for(capacity: int) -> int:
        """Bytes of `arrays` at `capacity`."""
        return 0

    def arrays(self) -> dict[str, Array]:
        """What the policy keeps beside each row, by name; not copies."""
        return {}

    @abstractmethod
    def choose(
        self, rows: Rows, cls: int, rng: np.random.Generator, weight: float | None = None
    ) -> int:
        """Slot for the next sample: ``rows.size``, one in use, or `DROP`.

        Parameters
        ----------
        rows
            The memory's rows, without the sample.
        cls
            Class of the sample.
        rng
            Source of randomness.
        weight
            How much the caller wants to keep it; most policies do not ask.
        """

    def prepare(self, rows: Rows, decode: Decode) -> None:
        """Look at latents, before a batch is offered: ``decode(slots)`` gives them."""
        return

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

    def arrange(self, rows: Rows, keep: Bool, capacity: int) -> Int64:
        """Slots of the rows to `keep`, in the order in which they are to stand from now on.

        The policy's own arrays follow, at the new `capacity`.
        """
        return np.flatnonzero(keep)
