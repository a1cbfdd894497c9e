"""The rule h = M / i: every experience keeps an equal share of the memory."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_cl.memory.rows import Rows
from edge_cl.memory.selection.base import DROP, Selection
from edge_cl.types import Bool, Int64

_EXPERIENCE, _INDEX, _SEEN, _START, _HELD, _QUOTA = range(6)


class Share(Selection):
    """After experience i, h = M / i of its samples have replaced h random older rows.

    The published rule draws h samples when the experience is over, which needs
    its latents a second time. Here it runs sample by sample: the first h samples
    of experience i each take the slot of a random older row, and then a
    reservoir of size h runs over the experience's own rows. Afterwards the same
    sets are equally likely: h of its samples, uniformly, in place of h older
    rows, uniformly. To find both kinds in O(1), an experience's own rows are kept
    side by side: an older row in the way moves into the slot of the evicted one.

    Where this goes beyond the paper:

    - Until the memory is full every sample is kept, also across experiences; an
      experience that thereby holds more than h rows keeps them.
    - With i > M the rule says h = 0, and the memory would stay for ever what its
      first M experiences were (with one-sample experiences: the first M
      samples). Instead an experience then gets one row with probability M / i,
      so that the expected share stays M / i.
    - Forgetting samples or resizing keeps the experience's rows together, and
      its reservoir goes on.

    References
    ----------
    L. Pellegrini et al., Latent replay for real-time continual learning, IROS 2020,
    algorithm 1 ("h = M / i"); J. S. Vitter 1985, algorithm R.
    """

    name: ClassVar[str] = "share"

    def begin_experience(self, rows: Rows, index: int) -> None:
        """See `Selection.begin_experience`; beginning the same index twice changes nothing."""
        if self.counters[_EXPERIENCE] and index == self.counters[_INDEX]:
            return
        self._begin(rows, index)

    def choose(
        self, rows: Rows, cls: int, rng: np.random.Generator, weight: float | None = None
    ) -> int:
        """See `Selection.choose`."""
        counters = self.counters
        if not counters[_EXPERIENCE]:
            self._begin(rows, 0)
        counters[_SEEN] += 1
        if not rows.full:
            counters[_HELD] += 1
            return rows.size
        if counters[_QUOTA] < 0:
            counters[_QUOTA] = self._quota(rows.capacity, rng)
        if counters[_HELD] < counters[_QUOTA]:
            return self._take_older(rows, rng)
        if counters[_HELD] == 0:
            return DROP
        draw = int(rng.integers(counters[_SEEN]))
        if draw >= counters[_HELD]:
            return DROP
        return (counters[_START] + draw) % rows.capacity

    def arrange(self, rows: Rows, keep: Bool, capacity: int) -> Int64:
        """See `Selection.arrange`; the present experience's rows last."""
        own = (np.arange(rows.size) - self.counters[_START]) % max(rows.capacity, 1)
        is_own = own < self.counters[_HELD]
        older = np.flatnonzero(keep & ~is_own)
        newer = np.flatnonzero(keep & is_own)
        self.counters[_START] = len(older)
        self.counters[_HELD] = len(newer)
        self.counters[_QUOTA] = -1
        return np.concatenate([older, newer])

    def _begin(self, rows: Rows, index: int) -> None:
        self.counters = [self.counters[_EXPERIENCE] + 1, index, 0, rows.size, 0, -1]

    def _quota(self, capacity: int, rng: np.random.Generator) -> int:
        experience = self.counters[_EXPERIENCE]
        if experience <= capacity:
            return capacity // experience
        return int(rng.random() * experience < capacity)

    def _take_older(self, rows: Rows, rng: np.random.Generator) -> int:
        start, held = self.counters[_START], self.counters[_HELD]
        slot = (start + held) % rows.capacity
        rows.swap(slot, (slot + int(rng.integers(rows.capacity - held))) % rows.capacity)
        self.counters[_HELD] += 1
        return slot
