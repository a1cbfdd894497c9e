"""Every class is equally likely, then every row of it."""

from __future__ import annotations

import numpy as np

from edge_cl.memory.retrieval.base import Hardness
from edge_cl.memory.retrieval.pool import Pool
from edge_cl.memory.selection.class_balanced import level
from edge_cl.types import Array, Int64


def class_balanced(
    pool: Pool, n: int, rng: np.random.Generator, hardness: Hardness | None = None, /
) -> Array:
    """Slots of `n` rows, as equally over the classes as their sizes allow.

    Without replacement: shares differ by at most one except for classes that
    have fewer rows; which classes get the odd rows is random. All rows come if
    there are no more than `n`. O(n + R) for R classes.
    """
    n = min(n, len(pool))
    shuffled = rng.permutation(len(pool.starts) - 1)
    firsts, sizes = pool.starts[:-1][shuffled], np.diff(pool.starts)[shuffled]
    shares = level(sizes, n)
    crowded = 2 * shares > sizes
    drawn = [_draw_sparse(firsts[~crowded], sizes[~crowded], shares[~crowded], rng)]
    drawn += [
        first + rng.choice(size, share, replace=False)
        for first, size, share in zip(firsts[crowded], sizes[crowded], shares[crowded], strict=True)
    ]
    return rng.permutation(pool.members[np.concatenate(drawn)])


def _draw_sparse(firsts: Int64, sizes: Int64, shares: Int64, rng: np.random.Generator) -> Int64:
    """Distinct places, at most half of any class: what collides is drawn again."""
    first, size = np.repeat(firsts, shares), np.repeat(sizes, shares)
    places = first + rng.integers(0, np.maximum(size, 1))
    while True:
        kept = np.zeros(len(places), dtype=np.bool_)
        kept[np.unique(places, return_index=True)[1]] = True
        if kept.all():
            return np.asarray(places, dtype=np.int64)
        places[~kept] = first[~kept] + rng.integers(0, size[~kept])
