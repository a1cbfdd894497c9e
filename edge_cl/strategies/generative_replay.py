"""Deep generative replay: a scholar of a solver and a generator."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from edge_cl.equations import cross_entropy, cross_entropy_gradient
from edge_cl.generator import GenerativeStrategy, GeneratorOptions, row_shares
from edge_cl.head import Forward
from edge_cl.options import Options
from edge_cl.state import Slot
from edge_cl.strategy import Experience, Needs
from edge_cl.types import NO_CONTEXT, NO_ID, Array, Batch, Float32

DREAMED = NO_ID - 1
"""Sample id of what the generator made."""


class GenerativeReplayOptions(GeneratorOptions):
    """Options of generative replay."""

    experience_samples: int | None = Field(
        1000, ge=1, description="Close an experience after this many samples; null never does."
    )


class GenerativeReplay(GenerativeStrategy):
    """Rehearses latents that a generator dreams, labelled by the solver of last time.

    In experience t the loss is 1/t of the new samples' and 1 - 1/t of the dreamed ones'
    (Shin et al. 2017, eq. 1); the generator learns from the same mixture. No sample of the
    past is kept.
    """

    name: ClassVar[str] = "generative_replay"
    paper: ClassVar[str] = "Shin, Lee, Kim & Kim 2017, arXiv:1705.08690, eq. 1"
    needs: ClassVar[Needs] = Needs(boundaries=True)
    options_type: ClassVar[type[Options]] = GenerativeReplayOptions

    teacher: Float32
    known: Array

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """Solver and generator, the old copies of both, and how many classes were known."""
        return {
            **super().slots(classes, contexts),
            "teacher": Slot((self.head.size(classes),)),
            "known": Slot((1,), np.int64),
        }

    def step(self, batch: Batch) -> float:
        """One step of the generator and one of the solver on new and dreamed latents."""
        self._note_membership(batch)
        mixed = Batch.concat([batch, self.dreamed_batch()])
        self.train_generator(mixed.latents, self.shares(mixed))
        return super().step(mixed)

    def dreamed_batch(self) -> Batch:
        """Latents of the old generator, labelled by the old solver."""
        latents = self.dream()
        logits = self.head.logits(self.teacher, latents)[:, : max(int(self.known[0]), 1)]
        classes = logits.argmax(axis=1)
        contexts = np.full(len(classes), NO_CONTEXT, dtype=np.int64)
        if self.head_options.softmax_over == "context":
            contexts = self.membership[:, classes].argmax(axis=0)
        return Batch(latents, classes, contexts, np.full(len(classes), DREAMED, dtype=np.int64))

    def shares(self, mixed: Batch) -> Float32:
        """Weight of each row in the loss (eq. 1)."""
        dreamed = int((mixed.ids == DREAMED).sum())
        return row_shares(len(mixed) - dreamed, dreamed, self.new_share)

    def loss(self, batch: Batch, forward: Forward) -> tuple[float, Float32]:
        """Cross-entropy, new rows weighing 1/t and dreamed ones the rest."""
        logits = self.allowed_logits(forward.logits, batch.contexts)
        shares = self.shares(batch)
        value = float(cross_entropy(logits, batch.classes) @ shares)
        by_logits = cross_entropy_gradient(logits, batch.classes)
        by_logits *= shares[:, None] * np.float32(len(batch))
        return value, by_logits

    def end(self, experience: Experience) -> None:
        """The scholar of now teaches the next one."""
        super().end(experience)
        self.teacher[:] = self.weights
        self.known[0] = self.classes
