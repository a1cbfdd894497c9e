"""Every row is equally likely."""

from __future__ import annotations

import numpy as np

from edge_cl.memory.retrieval.base import Hardness
from edge_cl.memory.retrieval.pool import Pool
from edge_cl.types import Array


def uniform(
    pool: Pool, n: int, rng: np.random.Generator, hardness: Hardness | None = None, /
) -> Array:
    """Slots of `n` rows drawn uniformly without replacement, all of them if there are fewer.

    O(n), for ``Generator.choice`` samples without shuffling the pool.
    """
    return pool.members[rng.choice(len(pool), min(n, len(pool)), replace=False)]
