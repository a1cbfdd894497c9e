"""Keep everything, or say that it does not fit."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_cl.errors import BudgetExceeded
from edge_cl.memory.rows import Rows
from edge_cl.memory.selection.base import Selection


class KeepAll(Selection):
    """Nothing is ever evicted: for joint and cumulative training."""

    name: ClassVar[str] = "all"

    def choose(
        self, rows: Rows, cls: int, rng: np.random.Generator, weight: float | None = None
    ) -> int:
        """See `Selection.choose`; `admit` has made sure that there is room."""
        return rows.size

    def admit(self, rows: Rows, n_samples: int) -> None:
        """See `Selection.admit`."""
        wanted = rows.size + n_samples
        if wanted > rows.capacity:
            row_bytes = rows.codes.shape[1]
            raise BudgetExceeded(
                Rows.bytes_for(wanted, row_bytes),
                Rows.bytes_for(rows.capacity, row_bytes),
                f"{wanted:,} samples are to be kept and {rows.capacity:,} fit; raise the memory "
                "budget, use a smaller codec, or a selection policy that evicts",
            )
