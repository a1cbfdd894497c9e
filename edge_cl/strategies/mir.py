"""Maximally interfered retrieval."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from edge_cl.equations import cross_entropy
from edge_cl.options import HeadOptions, MemoryOptions, Options
from edge_cl.state import Slot
from edge_cl.strategy import GradientStrategy
from edge_cl.types import NO_CONTEXT, Array, Batch, Float32


class MIROptions(HeadOptions, MemoryOptions):
    """Options of maximally interfered retrieval."""

    learning_rate: float = Field(0.5, gt=0, le=100, description="Step length.")
    replay_batch: int = Field(10, ge=1, le=65536, description="Exemplars replayed in one step.")
    candidates: int = Field(
        50, ge=1, le=65536, description="Random exemplars among which the replayed ones are found."
    )
    compare_to_best: bool = Field(
        True,
        description="Measure the rise of an exemplar's loss from the lowest loss it ever had, "
        "not only from the present one.",
    )
    exclude_present: bool = Field(
        True, description="Replay no exemplars of the new samples' own context, if that is known."
    )


class MIR(GradientStrategy):
    """Replays those exemplars whose loss the coming step would raise most.

    A virtual step on the new samples alone shows what it would do to random candidates;
    the most harmed ones are replayed with the real step (Aljundi et al. 2019, algorithm
    1). The two gradients are added, each the mean of its batch.
    """

    name: ClassVar[str] = "mir"
    paper: ClassVar[str] = "Aljundi et al. 2019, arXiv:1908.04742, algorithm 1 and section 3.1"
    options_type: ClassVar[type[Options]] = MIROptions

    def columns(self, memory: str, classes: int) -> dict[str, Slot]:
        """The lowest loss that each exemplar ever had."""
        return {"best_loss": Slot(())}

    def step(self, batch: Batch) -> float:
        """One step down the gradient of the new samples and of the most interfered ones."""
        self._note_membership(batch)
        value, gradient = self.loss_gradient(batch)
        slots = self.retrieved(batch, gradient)
        if len(slots):
            gradient += self.loss_gradient(self.normalised(self.memory.rows(slots)))[1]
        self.update(gradient)
        return value

    def retrieved(self, batch: Batch, gradient: Float32) -> Array:
        """Slots of the `replay_batch` candidates that the step would harm most."""
        options = self.options
        assert isinstance(options, MIROptions)
        context = int(batch.contexts[0])
        excluded = context if options.exclude_present and context != NO_CONTEXT else None
        slots = self.memory.draw(options.candidates, self.rng, exclude_context=excluded)
        best = self.memory.column("best_loss")
        rows = self.normalised(self.memory.rows(slots))
        scores, losses = self.interference(rows, gradient, best[slots])
        best[slots] = np.minimum(best[slots], losses)
        return np.asarray(slots[np.argsort(-scores, kind="stable")[: options.replay_batch]])

    def interference(
        self, rows: Batch, gradient: Float32, best: Float32
    ) -> tuple[Float32, Float32]:
        """By how much a plain step down `gradient` raises each row's loss (section 3.1).

        Parameters
        ----------
        rows
            N exemplars.
        gradient
            Of the new samples.
        best
            (N,) lowest loss that each row ever had.

        Returns
        -------
        (N,) rises, and (N,) losses before the step.
        """
        assert isinstance(self.options, MIROptions)
        before = self.losses(self.weights, rows)
        virtual = self.weights - np.float32(self.options.step_length) * gradient
        after = self.losses(virtual, rows)
        least = np.minimum(before, best) if self.options.compare_to_best else before
        return after - least, before

    def losses(self, weights: Float32, rows: Batch) -> Float32:
        """Cross-entropy (N,) of every row under `weights`."""
        logits = self.allowed_logits(self.head.logits(weights, rows.latents), rows.contexts)
        return cross_entropy(logits, rows.classes)

    def remember(self, batch: Batch) -> None:
        """Offer samples to the memory, with their present loss as the best so far."""
        losses = self.losses(self.weights, self.normalised(batch))
        self.memory.add(batch, self.rng, columns={"best_loss": losses})
