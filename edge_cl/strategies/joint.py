"""Joint training: the upper bound of every comparison."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.options import HeadOptions, MemoryOptions, Options
from edge_cl.state import Role, Slot, zeros
from edge_cl.strategy import GradientStrategy, Needs
from edge_cl.types import Batch, Float32


class JointOptions(HeadOptions, MemoryOptions):
    """Options of joint training; `batch_size`, `epochs` and `replay_batch` do not matter."""

    selection: Literal["all"] = Field("all", description="Every sample stays.")
    passes: int = Field(20, ge=1, le=1024, description="Passes over all samples at a training.")
    train_batch: int = Field(32, ge=1, le=4096, description="Samples in one step.")


class Joint(GradientStrategy):
    """Keeps every sample, and trains from the initial weights on all of them.

    What an offline learner would reach: the order of arrival has no influence on what is
    learned from. Trained whenever a prediction needs it. It refuses a sample that does
    not fit in the budget, for with an eviction it would be another method (GDumb).
    """

    name: ClassVar[str] = "joint"
    paper: ClassVar[str] = "baseline (offline training on all data so far)"
    needs: ClassVar[Needs] = Needs(history=True)
    options_type: ClassVar[type[Options]] = JointOptions
    learns_denials: ClassVar[bool] = False

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The head is derived from the memory; no optimiser outlives a training."""
        slots = super().slots(classes, contexts)
        for name in self.optimizer.slots(0):
            del slots[name]
        return {**slots, "weights": Slot((self.head.size(classes),), role=Role.DERIVED)}

    def initialise(self) -> None:
        """Nothing to start from: every training starts afresh."""

    def step(self, batch: Batch) -> float:
        """Learning is storing."""
        self._note_membership(batch)
        return 0.0

    def settle(self) -> None:
        """Train from the initial weights; the same samples give the same head."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        self.weights = self.trained(self.head.initial(self.classes, rng), rng)

    def trained(self, weights: Float32, rng: np.random.Generator) -> Float32:
        """`weights` after `passes` shuffled passes over all samples; changed in place."""
        options = self.options
        assert isinstance(options, JointOptions)
        state = {name: zeros(slot) for name, slot in self.optimizer.slots(len(weights)).items()}
        for _ in range(options.passes if len(self.memory) else 0):
            order = rng.permutation(len(self.memory))
            for start in range(0, len(order), options.train_batch):
                slots = order[start : start + options.train_batch]
                batch = self.normalised(self.memory.rows(slots))
                forward = self.head.forward(weights, batch.latents)
                by_logits = self.loss(batch, forward)[1]
                self.optimizer.update(
                    weights, self.head.gradient(weights, forward, by_logits), state
                )
        return weights
