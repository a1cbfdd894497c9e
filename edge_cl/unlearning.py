"""What a strategy does about lessons that were wrong: the half of the plug-in surface for that.

A strategy whose state is a sum over samples overrides `unlearn`, `absorb` and
`merge_class`, and says so in `subtracts` and `forgetting`. All others get what
follows from the declaration of their state, and are corrected approximately.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Literal

import numpy as np

from edge_cl.errors import Conflict
from edge_cl.memory import ReplayMemory
from edge_cl.state import Slot, class_parts
from edge_cl.types import Array, Batch, Bool


class Unlearning:
    """Corrections of a strategy; its base class."""

    name: ClassVar[str]

    subtracts: ClassVar[bool] = False
    """There are sums over samples, of which any sample can be taken out again."""
    class_stands_alone: ClassVar[bool] = False
    """What is known of a class lies in arrays of its own, and can be cleared exactly."""
    forgetting: ClassVar[Literal["exact", "approximate"]] = "approximate"
    """Whether taking a sample out leaves nothing of it."""
    learns_denials: ClassVar[bool] = False
    """It can learn from one latent what that is not."""

    classes: int
    contexts: int
    memories: dict[str, ReplayMemory]

    @abstractmethod
    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """Every array of the state."""

    @abstractmethod
    def columns(self, memory: str, classes: int) -> dict[str, Slot]:
        """What a memory keeps beside each latent."""

    @abstractmethod
    def observe(self, batch: Batch, *, remember: bool = True) -> None:
        """Learn a batch."""

    @property
    def is_exact(self) -> bool:
        """Whether nothing but sums over samples decides what it predicts now."""
        return self.forgetting == "exact"

    @property
    def can_deny(self) -> bool:
        """Whether it can learn now what a sample is not."""
        return self.learns_denials

    def remembers(self, sample_id: int) -> bool:
        """Whether any memory has this sample."""
        return any(memory.contains(sample_id) for memory in self.memories.values())

    def remembered(self, sample_id: int) -> Batch:
        """The sample as a memory has it, raw, in a batch of one; empty if none has it."""
        for memory in self.memories.values():
            slots = np.flatnonzero(memory.arrays()["ids"][: len(memory)] == sample_id)
            if len(slots):
                return memory.rows(slots[:1])
        return Batch.empty(0)

    def remove_samples(self, ids: Iterable[int]) -> None:
        """Take the samples out of every memory."""
        doomed = list(ids)
        for memory in self.memories.values():
            memory.remove(doomed)

    def unlearn(self, batch: Batch) -> None:
        """Take raw samples out of the statistics; weights keep what they learned."""

    def absorb(self, batch: Batch) -> None:
        """Learn raw samples that have been offered to the memories before."""
        self.observe(batch, remember=False)

    def relabel_sample(self, sample_id: int, cls: int) -> None:
        """Give the sample another class in every memory."""
        for memory in self.memories.values():
            memory.relabel(sample_id, cls)

    def clear_class(self, cls: int) -> None:
        """Set to zero what belongs to the class `cls` alone, and forget its exemplars."""
        now = self.slots(self.classes, self.contexts)
        less, more = (self.slots(self.classes + n, self.contexts) for n in (-1, 1))
        for name in now:
            array = getattr(self, name, None)
            if array is not None:
                _clear(array, class_parts(less[name], now[name], more[name], cls, self.classes))
        for name, memory in self.memories.items():
            memory.remove_class(cls)
            self._clear_columns(name, memory, cls)

    def _clear_columns(self, name: str, memory: ReplayMemory, cls: int) -> None:
        less, now, more = (self.columns(name, self.classes + n) for n in (-1, 0, 1))
        for column in now:
            parts = class_parts(less[column], now[column], more[column], cls, self.classes)
            _clear(memory.column(column), [(slice(None), *part) for part in parts])

    def merge_class(self, cls: int, into: int) -> bool:
        """Add what is known of `cls` to `into`; False if they can only answer to one name."""
        return False

    def deny(self, batch: Batch, denied: Bool) -> None:
        """Learn that raw samples are of none of the classes in their rows of `denied` (N, C).

        Raises
        ------
        Conflict
            If nothing in its state could say so.
        """
        raise Conflict(
            f"strategy {self.name!r} cannot learn what a sample is not: teach it under the label "
            "that it has, forget or relabel the samples that mislead it, or give the learner a "
            "strategy that can, such as slda_replay"
        )


def _clear(array: Array, parts: Iterable[tuple[slice, ...]]) -> None:
    for part in parts:
        array[part] = 0
