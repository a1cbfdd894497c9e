"""One head for each context."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.equations import cross_entropy, cross_entropy_gradient, softmax
from edge_cl.options import HeadOptions, Options
from edge_cl.state import Role, Slot
from edge_cl.strategy import Experience, GradientStrategy
from edge_cl.types import Batch, Bool, Float32, Int64


class EnsembleOptions(HeadOptions):
    """Options of the ensemble; its softmax is always over a context's own classes."""

    pick: Literal["confidence", "entropy"] = Field(
        "confidence",
        description="Which head answers when the context is not told: that with the largest "
        "probability, or that with the lowest entropy for its number of classes.",
    )


class Ensemble(GradientStrategy):
    """A head of its own for every context, which no other context can change.

    A sample trains the head of its context alone, so nothing is forgotten; nothing is
    shared either. Asked without a context, every head answers over its own classes (its
    softmax is over these), and one of them is believed. A head that knows a single class
    is always sure: contexts should bring two or more.
    """

    name: ClassVar[str] = "ensemble"
    paper: ClassVar[str] = (
        "baseline (separate networks); heads picked by confidence: Aljundi et al. 2017, "
        "arXiv:1611.06194, section 2"
    )
    options_type: ClassVar[type[Options]] = EnsembleOptions
    learns_denials: ClassVar[bool] = False

    heads: Float32
    owned: Bool

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """A row of weights for each context, the first for samples without one."""
        size, rows = self.head.size(classes), contexts + 1
        return {
            **self.optimizer.slots(size),
            "heads": Slot((rows, size), role=Role.PUBLISHED),
            "owned": Slot((rows, classes), np.bool_, Role.PUBLISHED),
        }

    def initialise(self) -> None:
        """The head of samples without a context."""
        self.heads[0] = self.head.initial(0, self.rng)

    def grown(self, old_classes: int, old_contexts: int) -> None:
        """A fresh head for each new context."""
        for row in range(old_contexts + 1, self.contexts + 1):
            self.heads[row] = self.head.initial(self.classes, self.rng)

    def begin(self, experience: Experience) -> None:
        """The optimiser's memory belongs to the head that it trained last."""
        for name in self.optimizer.slots(0):
            getattr(self, name)[:] = 0

    def step(self, batch: Batch) -> float:
        """One gradient step on the head of the batch's context; batches have one context."""
        row = int(batch.contexts[0]) + 1
        self.owned[row, batch.classes] = True
        weights = self.heads[row]
        forward = self.head.forward(weights, batch.latents)
        logits = np.where(self.owned[row], forward.logits, np.float32(-1e9))
        gradient = self.head.gradient(
            weights, forward, cross_entropy_gradient(logits, batch.classes)
        )
        self.optimizer.update(
            weights, gradient, {name: getattr(self, name) for name in self.optimizer.slots(0)}
        )
        return float(cross_entropy(logits, batch.classes).mean())

    def probabilities(self, row: int, latents: Float32) -> Float32:
        """Softmax (N, C) of one head over its own classes; 0 for all others."""
        logits = self.head.logits(self.heads[row], latents)
        return softmax(np.where(self.owned[row], logits, np.float32(-1e9)))

    def picked(self, answers: Float32, known: Int64) -> Int64:
        """Which of R heads each of N samples believes, (N,), from `answers` (R, N, C).

        `known` (R,) is how many classes each head knows: entropies are compared as shares
        of the largest that the head could have.
        """
        assert isinstance(self.options, EnsembleOptions)
        if self.options.pick == "confidence":
            return np.asarray(answers.max(axis=2).argmax(axis=0))
        entropy = -(answers * np.log(np.maximum(answers, 1e-30))).sum(axis=2)
        return np.asarray((entropy / np.log(np.maximum(known, 2))[:, None]).argmin(axis=0))

    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Logarithms of the answering head's probabilities."""
        if context is not None:
            return _logarithm(self.probabilities(context + 1, latents))
        known = self.owned.sum(axis=1)
        rows = np.flatnonzero(known)
        answers = np.stack([self.probabilities(int(row), latents) for row in rows])
        chosen = self.picked(answers, known[rows])
        return _logarithm(answers[chosen, np.arange(len(latents))])


def _logarithm(probabilities: Float32) -> Float32:
    """Finite for probabilities of 0, and smaller than for any other."""
    return np.asarray(np.log(np.maximum(probabilities, np.float32(1e-37))), dtype=np.float32)
