"""The rows that may be retrieved, grouped by class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_cl.types import Array, Bool, Int64


@dataclass(frozen=True)
class Pool:
    """Slots grouped by class.

    Parameters
    ----------
    members
        (n,) slots, the classes one after the other.
    starts
        (R + 1,) where each class begins in `members`, and where the last ends;
        no class is empty.
    """

    members: Array
    starts: Int64

    def __len__(self) -> int:
        return int(self.starts[-1])

    def where(self, keep: Bool) -> Pool:
        """The pool of the members to `keep`, (n,)."""
        kept_before = np.concatenate([[0], np.cumsum(keep)])
        return Pool(self.members[keep], np.unique(kept_before[self.starts]))

    def of_ranks(self, ranks: Int64) -> Pool:
        """The pool of some of the classes, by their position."""
        stretches = [self.members[self.starts[r] : self.starts[r + 1]] for r in ranks]
        sizes = [len(stretch) for stretch in stretches]
        members = np.concatenate(stretches) if stretches else self.members[:0]
        return Pool(members, np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]))
