"""GDumb: a greedy balanced memory, and a head trained from scratch on it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from edge_cl.equations import cross_entropy_gradient
from edge_cl.optimizer import SGD
from edge_cl.options import HeadOptions, MemoryOptions, Options
from edge_cl.state import Role, Slot, zeros
from edge_cl.strategy import GradientStrategy, Needs
from edge_cl.types import Array, Batch, Float32


class GDumbOptions(HeadOptions, MemoryOptions):
    """Options of GDumb; `batch_size` and `epochs` do not matter to it."""

    selection: str = Field("class_balanced", description="Which samples stay in the memory.")
    passes: int = Field(
        64,
        ge=1,
        le=1024,
        description="Passes over the memory at every training. A power of two ends where "
        "the learning rate is lowest.",
    )
    train_batch: int = Field(16, ge=1, le=4096, description="Exemplars in one step.")
    learning_rate: float = Field(0.05, gt=0, le=100, description="Highest learning rate.")
    least_learning_rate: float = Field(5e-4, gt=0, description="Lowest learning rate.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd.")
    weight_decay: float = Field(1e-6, ge=0, lt=1, description="Weight decay of sgd.")
    largest_gradient: float = Field(10.0, gt=0, description="Gradients are clipped to this norm.")


class GDumb(GradientStrategy):
    """Stores samples greedily so that classes stay equal; learns only when asked.

    Prabhu et al. 2020: algorithm 1 is the sampler (selection `class_balanced`); section 3
    the learner, which is trained from scratch on the memory alone whenever a prediction
    needs it, with cosine learning rates and warm restarts.
    """

    name: ClassVar[str] = "gdumb"
    paper: ClassVar[str] = "Prabhu, Torr & Dokania 2020, doi:10.1007/978-3-030-58536-5_31, alg. 1"
    needs: ClassVar[Needs] = Needs()
    options_type: ClassVar[type[Options]] = GDumbOptions
    learns_denials: ClassVar[bool] = False

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The head is derived from the memory: only the optimiser's work is beside it."""
        size = self.head.size(classes)
        slots = super().slots(classes, contexts)
        del slots["weights"]
        slots.pop("velocity", None)
        return {**slots, "weights": Slot((size,), role=Role.DERIVED)}

    def initialise(self) -> None:
        """Nothing to start from: every training starts afresh."""

    def step(self, batch: Batch) -> float:
        """Learning is storing."""
        self._note_membership(batch)
        return 0.0

    def settle(self) -> None:
        """Train a fresh head on the memory; the same memory gives the same head."""
        options = self.options
        assert isinstance(options, GDumbOptions)
        rng = np.random.Generator(np.random.PCG64(self.seed))
        self.weights = self.head.initial(self.classes, rng)
        velocity = zeros(Slot(self.weights.shape))
        for epoch in range(options.passes if len(self.memory) else 0):
            rate = learning_rate(epoch, options.learning_rate, options.least_learning_rate)
            rule = SGD(rate, options.momentum, options.weight_decay)
            order = rng.permutation(len(self.memory))
            for start in range(0, len(order), options.train_batch):
                slots = order[start : start + options.train_batch]
                part = self.exemplars(slots, rng)
                rule.update(self.weights, self._clipped_gradient(part), {"velocity": velocity})

    def exemplars(self, slots: Array, rng: np.random.Generator) -> Batch:
        """What one step trains on; with images in memory, the place to augment them."""
        return self.normalised(self.memory.rows(slots))

    def _clipped_gradient(self, batch: Batch) -> Float32:
        assert isinstance(self.options, GDumbOptions)
        forward = self.head.forward(self.weights, batch.latents)
        logits = self.allowed_logits(forward.logits, batch.contexts)
        by_logits = cross_entropy_gradient(logits, batch.classes)
        gradient = self.head.gradient(self.weights, forward, by_logits)
        norm = float(np.linalg.norm(gradient))
        limit = self.options.largest_gradient
        return gradient * np.float32(limit / norm) if norm > limit else gradient


def learning_rate(epoch: int, highest: float, lowest: float) -> float:
    """Rate of an epoch: a tenth of the highest, then cosines with warm restarts.

    The first pass warms up; from the second on periods are 1, 2, 4, … passes long
    (Loshchilov & Hutter 2017, eq. 5, with T_0 = 1 and T_mult = 2), so that 2^k passes end
    with a period.
    """
    if epoch == 0:
        return highest / 10
    period = 1 << (epoch.bit_length() - 1)
    done = (epoch - period) / period
    return lowest + 0.5 * (highest - lowest) * (1 + float(np.cos(np.pi * done)))
