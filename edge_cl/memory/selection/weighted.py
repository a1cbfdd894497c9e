"""Weighted sampling: what is rare or uncertain is likelier to stay."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from edge_cl.memory.index import slot_dtype
from edge_cl.memory.rows import Rows
from edge_cl.memory.selection.base import DROP, Selection
from edge_cl.types import Array, Bool, Int64

_LEAST_WEIGHT = 1e-6


class Weighted(Selection):
    """A reservoir in which a sample stays with a probability that grows with its weight.

    Each sample gets the key ``u ** (1 / weight)``, u uniform in (0, 1], and the
    M largest keys stay; equal weights give plain reservoir sampling. A weight is
    the caller's (a loss: uncertain samples stay), or else the rarity of the
    sample's class in memory: ``rows / (classes * rows of the class)``, which makes
    a class's share about the square root of its share of the stream.

    The smallest key is found by a tournament tree: O(log M) a sample kept.

    References
    ----------
    P. S. Efraimidis and P. G. Spirakis, Weighted random sampling with a reservoir,
    Inf. Process. Lett. 97 (2006), algorithm A-Res.
    """

    name: ClassVar[str] = "weighted"

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        # Logarithms of keys: 0, the largest there can be, marks a slot not yet in use.
        self._keys = np.zeros(capacity, dtype=np.float32)
        self._winners: Array = np.zeros(capacity, dtype=slot_dtype(capacity))
        self._play_all()

    @staticmethod
    def bytes_for(capacity: int) -> int:
        """See `Selection.bytes_for`."""
        return capacity * (4 + slot_dtype(capacity).itemsize)

    def arrays(self) -> dict[str, Array]:
        """``keys``: logarithms; ``winners``: node i of the tree holds its subtree's least slot."""
        return {"keys": self._keys, "winners": self._winners}

    def choose(
        self, rows: Rows, cls: int, rng: np.random.Generator, weight: float | None = None
    ) -> int:
        """See `Selection.choose`."""
        if weight is None:
            weight = (rows.size + 1) / ((rows.index.n_classes + 1) * (rows.index.size_of(cls) + 1))
        key = np.float32(math.log(1 - rng.random()) / max(weight, _LEAST_WEIGHT))
        slot = rows.size if not rows.full else self._least()
        if rows.full and key <= self._keys[slot]:
            return DROP
        self._keys[slot] = key
        self._play(slot)
        return slot

    def survivors(self, rows: Rows, n_rows: int, rng: np.random.Generator) -> Bool:
        """See `Selection.survivors`; the largest keys stay."""
        mask = np.zeros(rows.size, dtype=np.bool_)
        mask[np.argsort(self._keys[: rows.size], kind="stable")[rows.size - n_rows :]] = True
        return mask

    def arrange(self, rows: Rows, keep: Bool, capacity: int) -> Int64:
        """See `Selection.arrange`."""
        slots = np.flatnonzero(keep)
        keys = self._keys[slots]
        self._keys = np.zeros(capacity, dtype=np.float32)
        self._keys[: len(slots)] = keys
        self._winners = np.zeros(capacity, dtype=slot_dtype(capacity))
        self._play_all()
        return slots

    def _least(self) -> int:
        return int(self._winners[1]) if len(self._keys) > 1 else 0

    def _play(self, slot: int) -> None:
        node = (len(self._keys) + slot) // 2
        while node:
            self._winners[node] = self._winner(node)
            node //= 2

    def _play_all(self) -> None:
        capacity = len(self._keys)
        first = 1 << max(0, (capacity - 1).bit_length() - 1)
        while first:
            nodes = np.arange(first, min(2 * first, capacity))
            left, right = self._contenders(2 * nodes), self._contenders(2 * nodes + 1)
            earlier = self._keys[left] <= self._keys[right]
            self._winners[nodes] = np.where(earlier, left, right)
            first //= 2

    def _winner(self, node: int) -> int:
        left, right = self._contender(2 * node), self._contender(2 * node + 1)
        return left if self._keys[left] <= self._keys[right] else right

    def _contender(self, node: int) -> int:
        capacity = len(self._keys)
        return node - capacity if node >= capacity else int(self._winners[node])

    def _contenders(self, nodes: Int64) -> Int64:
        capacity = len(self._keys)
        inner = self._winners[np.minimum(nodes, capacity - 1)]
        return np.where(nodes >= capacity, nodes - capacity, inner)
