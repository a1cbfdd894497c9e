"""ExStream: memory-efficient replay of merged prototypes."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.equations import cross_entropy
from edge_cl.head import Forward
from edge_cl.options import HeadOptions, Options
from edge_cl.state import Slot
from edge_cl.strategy import GradientStrategy, MemoryPlan
from edge_cl.types import NO_ID, Array, Batch, Float32, Int64

# Stands for "no other prototype", and is finite, as all that is saved.
_FAR = np.finfo(np.float32).max


class ExStreamOptions(HeadOptions):
    """Options of ExStream."""

    codec: str = Field("uint8", description="How a prototype is stored.")
    memory_samples: int | None = Field(
        None, ge=1, description="Prototypes at most, of all classes; null fills the memory budget."
    )
    clusters: int | None = Field(
        None,
        ge=2,
        le=65536,
        description="Prototypes of each class at most; null is the single buffer, in which "
        "the class with most prototypes gives way to every new sample.",
    )
    replay_batch: int = Field(
        64, ge=1, le=65536, description="Prototypes in one step at most; the bound of rehearsal."
    )
    rehearsal: Literal["drift", "all"] = Field(
        "drift",
        description="After each batch, rehearse what the head is losing, or one epoch over all "
        "prototypes in steps of `replay_batch` (the paper).",
    )
    full_drift: float = Field(
        0.5, gt=0, description="Mean loss, in nats, at which a whole `replay_batch` is rehearsed."
    )
    drift_rate: float = Field(0.05, gt=0, le=1, description="Weight of the newest loss of a class.")


class ExStream(GradientStrategy):
    """Keeps prototypes that are running means, and merges the two nearest to make room.

    A new sample becomes a prototype of its class; where there is no room, the two
    prototypes of a class that are nearest to each other become their mean, weighted by
    how many samples each stands for (Hayes et al. 2019, algorithm 1). How much and which
    classes are rehearsed follows the measured loss.
    """

    name: ClassVar[str] = "exstream"
    paper: ClassVar[str] = "Hayes, Cahill & Kanan 2019, arXiv:1809.05922, algorithm 1"
    options_type: ClassVar[type[Options]] = ExStreamOptions

    drift: Float32

    @property
    def own_options(self) -> ExStreamOptions:
        """The options, as those of ExStream."""
        assert isinstance(self.options, ExStreamOptions)
        return self.options

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The head, and a running loss of each class."""
        return {**super().slots(classes, contexts), "drift": Slot((classes,))}

    def memory_plans(self) -> dict[str, MemoryPlan]:
        """One memory; the merge rule takes the place of a selection policy."""
        options = self.own_options
        return {"memory": MemoryPlan(1.0, options.codec, samples=options.memory_samples)}

    def columns(self, memory: str, classes: int) -> dict[str, Slot]:
        """Samples in a prototype; a lower bound of its squared distance to its nearest."""
        return {"count": Slot((), np.uint32), "bound": Slot(())}

    def grown(self, old_classes: int, old_contexts: int) -> None:
        """A new class is rehearsed in full until its loss has been measured."""
        self.drift[old_classes:] = self.own_options.full_drift

    # Rehearsal.

    def step(self, batch: Batch) -> float:
        """One step on new samples and prototypes, or the paper's epoch over all of them."""
        if self.own_options.rehearsal == "drift":
            return super().step(batch)
        self._note_membership(batch)
        everything = Batch.concat([batch, self.normalised(self.memory.all())])
        order, size = self.rng.permutation(len(everything)), self.own_options.replay_batch
        losses = []
        for start in range(0, len(order), size):
            value, gradient = self.loss_gradient(everything[order[start : start + size]])
            self.update(gradient)
            losses.append(value)
        return float(np.mean(losses))

    def training_batch(self, batch: Batch) -> Batch:
        """The new samples, and prototypes where the head is losing most."""
        rows = self.normalised(self.memory.rows(self.rehearsed()))
        return Batch.concat([batch, rows])

    def rehearsed(self) -> Int64:
        """Slots to rehearse: at most `replay_batch`, each class by its share of the drift."""
        counts = self.memory.counts
        drift = np.where(counts > 0, self.drift[: len(counts)], 0).astype(np.float64)
        if not drift.any():
            return np.zeros(0, dtype=np.int64)
        effort = min(1.0, float(drift.sum() / (counts > 0).sum()) / self.own_options.full_drift)
        wanted = int(np.ceil(effort * self.own_options.replay_batch))
        shares = np.minimum(self.rng.multinomial(wanted, drift / drift.sum()), counts)
        drawn = [
            self.rng.choice(self.memory.slots_of_class(int(c)), shares[c], replace=False)
            for c in np.flatnonzero(shares)
        ]
        return np.concatenate([np.zeros(0, dtype=np.int64), *drawn])

    def loss(self, batch: Batch, forward: Forward) -> tuple[float, Float32]:
        """Mean cross-entropy; what it is for each class moves that class's drift."""
        logits = self.allowed_logits(forward.logits, batch.contexts)
        losses = cross_entropy(logits, batch.classes)
        counts = np.bincount(batch.classes, minlength=self.classes)
        means = np.bincount(batch.classes, losses, self.classes) / np.maximum(counts, 1)
        change = np.float32(self.own_options.drift_rate) * (means - self.drift)
        self.drift += np.where(counts > 0, change, 0).astype(np.float32)
        return super().loss(batch, forward)

    # The merge rule.

    def remember(self, batch: Batch) -> None:
        """Every sample becomes a prototype, where need be in the room that a merge frees."""
        for n in range(len(batch)):
            slot = self.freed_slot(int(batch.classes[n]))
            if slot is not None:
                self.place(slot, batch[n : n + 1], 1)

    def freed_slot(self, cls: int) -> int | None:
        """Where a sample of class `cls` goes; None if each class has one prototype, and no more.

        Its class merges when it has its `clusters`, else the largest when all is full.
        """
        memory, clusters = self.memory, self.own_options.clusters
        if clusters is not None and len(memory.slots_of_class(cls)) >= clusters:
            return self.merge(memory.slots_of_class(cls))
        if len(memory) < memory.capacity:
            return len(memory)
        largest = memory.slots_of_class(int(memory.counts.argmax()))
        return self.merge(largest) if len(largest) > 1 else None

    def make_room(self, memory: str, capacity: int) -> None:
        """Merge until no more than `capacity` are left, so that no count is lost."""
        while len(self.memory) > capacity:
            largest = self.memory.slots_of_class(int(self.memory.counts.argmax()))
            if len(largest) < 2:
                return
            self.memory.discard(np.array([self.merge(largest)]))

    def merge(self, slots: Int64) -> int:
        """Make the two nearest of a class's `slots` one (algorithm 1); the slot that is free."""
        one, other = self.closest(slots)
        pair, counts = self.memory.rows(np.array([one, other])), self.memory.column("count")
        weight = counts[[one, other]].astype(np.float64)
        mean = (weight @ pair.latents / weight.sum()).astype(np.float32)[None]
        unnumbered = np.array([NO_ID], dtype=np.int64)
        merged = Batch(mean, pair.classes[:1], pair.contexts[:1], unnumbered)
        self.place(one, merged, int(weight.sum()), gone=other)
        return other

    def place(self, slot: int, prototype: Batch, count: int, gone: int | None = None) -> None:
        """Put a prototype into `slot`, and lower the bounds of those that it is near to."""
        self.memory.put(slot, prototype, {"count": np.array([count])})
        slots = self.memory.slots_of_class(int(prototype.classes[0]))
        slots = slots[(slots != slot) & (slots != (slot if gone is None else gone))]
        bounds = self.memory.column("bound")
        distances = self.distances(slot, slots)
        bounds[slots] = np.minimum(bounds[slots], distances)
        bounds[slot] = distances.min(initial=_FAR)

    def closest(self, slots: Int64) -> tuple[int, int]:
        """The two of `slots`, all of one class, that are nearest to each other.

        Bounds only ever lie below the distances they stand for (a neighbour may have
        gone), so the least bound, once measured, is least of all if it is still least.
        """
        bounds = self.memory.column("bound")
        while True:
            nearest = int(slots[bounds[slots].argmin()])
            others = slots[slots != nearest]
            distances = self.distances(nearest, others)
            bounds[nearest] = distances.min()
            if bounds[nearest] <= bounds[others].min():
                return nearest, int(others[distances.argmin()])

    def distances(self, slot: int, others: Array) -> Float32:
        """Squared distances (K,) of the prototype in `slot` to K `others`: O(K D)."""
        rows = self.memory.rows(np.concatenate([[slot], others])).latents
        differences = rows[1:] - rows[0]
        return np.asarray(np.einsum("kd,kd->k", differences, differences), dtype=np.float32)
