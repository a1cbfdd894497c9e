"""Of a few random candidates, those that the caller finds hardest."""

from __future__ import annotations

import numpy as np

from edge_cl.errors import InvalidOption
from edge_cl.memory.retrieval.base import Hardness
from edge_cl.memory.retrieval.pool import Pool
from edge_cl.memory.retrieval.uniform import uniform
from edge_cl.types import Array

CANDIDATES = 4
"""Rows that are scored for each one that comes back."""


def hardest_first(
    pool: Pool, n: int, rng: np.random.Generator, hardness: Hardness | None = None, /
) -> Array:
    """Slots of the `n` hardest of ``4 n`` uniform candidates, hardest first.

    Candidates rather than the whole memory: the cost does not depend on its
    size, and mislabelled rows, always the hardest, do not crowd out the rest.

    References
    ----------
    A. Shrivastava et al., Training region-based object detectors with online hard
    example mining, CVPR 2016, section 4; R. Aljundi et al., Online continual
    learning with maximally interfered retrieval, NeurIPS 2019, algorithm 1 (which
    scores by how much a virtual step raises the loss: pass that as `hardness`).

    Raises
    ------
    InvalidOption
        The strategy gives no scores.
    """
    if hardness is None:
        raise InvalidOption("retrieval 'hardest_first' needs a strategy that scores exemplars")
    slots = uniform(pool, CANDIDATES * n, rng)
    return np.asarray(slots[np.argsort(-hardness(slots), kind="stable")[:n]])
