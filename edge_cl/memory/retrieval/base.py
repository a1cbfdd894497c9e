"""What a retrieval policy is: a function from a pool of rows to those that come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from edge_cl.memory.retrieval.pool import Pool
from edge_cl.types import Array, Float32

Hardness = Callable[[Array], Float32]
"""Scores of the rows in some slots, (n,): larger is harder."""


class Retrieval(Protocol):
    """Draws slots from a pool that is not empty."""

    def __call__(
        self, pool: Pool, n: int, rng: np.random.Generator, hardness: Hardness | None = None, /
    ) -> Array:
        """Slots of `n` rows, all of them if there are fewer."""
