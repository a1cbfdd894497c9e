"""Reservoir sampling: every sample of the stream is equally likely to be in memory."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_cl.memory.rows import Rows
from edge_cl.memory.selection.base import DROP, Selection


class Reservoir(Selection):
    """Algorithm R: the n-th sample takes a uniform slot with probability M / n.

    After forgetting or growing, free slots are filled with what comes next, so
    that those samples are over-represented until the reservoir has mixed again.

    References
    ----------
    J. S. Vitter, Random sampling with a reservoir, ACM TOMS 11 (1985), algorithm R.
    """

    name: ClassVar[str] = "reservoir"

    def choose(
        self, rows: Rows, cls: int, rng: np.random.Generator, weight: float | None = None
    ) -> int:
        """See `Selection.choose`."""
        self.counters[0] += 1
        if not rows.full:
            return rows.size
        slot = int(rng.integers(self.counters[0]))
        return slot if slot < rows.capacity else DROP
