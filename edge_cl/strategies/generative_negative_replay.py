"""Generative negative replay: dreams that say what a class is not."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from edge_cl.equations import cross_entropy, cross_entropy_gradient
from edge_cl.generator import GenerativeStrategy, GeneratorOptions, row_shares
from edge_cl.head import Forward
from edge_cl.options import Options
from edge_cl.strategies.cwr import CWR, CWROptions
from edge_cl.strategy import Experience, Needs
from edge_cl.types import NO_CONTEXT, NO_ID, Batch, Bool, Float32

NEGATIVE = NO_ID - 1
"""Sample id of what the generator made."""


class GenerativeNegativeReplayOptions(GeneratorOptions, CWROptions):
    """Options of generative negative replay."""

    learning_rate: float = Field(0.5, gt=0, le=100, description="Step length.")
    experience_samples: int | None = Field(
        300, ge=1, description="Close an experience after this many samples; null never does."
    )


class GenerativeNegativeReplay(GenerativeStrategy, CWR):
    """Dreamed latents of old classes push the present classes away, and do nothing else.

    A generator's samples are too poor to learn a class from, but good enough as negatives
    (Graffieti et al. 2022): of the gradient by a dreamed row's logits, only the
    components of the present experience's classes are kept. The output layer is CWR*'s, so
    that an old class's row is its consolidated one.
    """

    name: ClassVar[str] = "generative_negative_replay"
    paper: ClassVar[str] = "Graffieti, Maltoni, Pellegrini & Lomonaco 2022, arXiv:2204.05842"
    needs: ClassVar[Needs] = Needs(boundaries=True)
    options_type: ClassVar[type[Options]] = GenerativeNegativeReplayOptions

    def begin(self, experience: Experience) -> None:
        """Old classes compete with their consolidated rows, not with rows of zeros.

        Only so does a dream that is recognised push less than one that is confused.
        """
        super().begin(experience)
        self.head.rows(self.weights)[:] = self.consolidated

    def step(self, batch: Batch) -> float:
        """One step of the generator on new and dreamed latents, and one of CWR* on both."""
        self._note_membership(batch)
        mixed = Batch.concat([batch, self.negatives()])
        shares = row_shares(len(batch), len(mixed) - len(batch), self.new_share)
        self.train_generator(mixed.latents, shares)
        return super().step(mixed)

    def negatives(self) -> Batch:
        """Dreamed latents of old classes, labelled by the consolidated rows."""
        latents = self.dream()
        features = self.head.features(self.weights, latents)
        classes = (features @ self.consolidated.T).argmax(axis=1)
        contexts = np.full(len(classes), NO_CONTEXT, dtype=np.int64)
        if self.head_options.softmax_over == "context":
            contexts = self.membership[:, classes].argmax(axis=0)
        return Batch(latents, classes, contexts, np.full(len(classes), NEGATIVE, dtype=np.int64))

    def training_batch(self, batch: Batch) -> Batch:
        """New and dreamed rows; only the new ones count for CWR*."""
        self.load_rows(batch.classes[batch.ids != NEGATIVE])
        return batch

    def loss(self, batch: Batch, forward: Forward) -> tuple[float, Float32]:
        """Mean cross-entropy of new rows, and of dreamed ones with its gradient masked.

        Only rows of present classes move. Either mean weighs the same, so that one new
        sample counts among many dreamed ones.
        """
        logits = self.allowed_logits(forward.logits, batch.contexts)
        by_logits = cross_entropy_gradient(logits, batch.classes) * np.float32(len(batch))
        by_logits[:, self.current == 0] = 0
        by_logits[self.own_class_of_dreams(batch)] = 0
        new = batch.ids != NEGATIVE
        by_logits[new] /= max(int(new.sum()), 1)
        by_logits[~new] /= max(int((~new).sum()), 1)
        value = cross_entropy(logits[new], batch.classes[new]).mean() if new.any() else 0.0
        return float(value), by_logits

    def own_class_of_dreams(self, batch: Batch) -> Bool:
        """(N, C): the components that would make a dreamed row a positive of its class."""
        dreamed = np.flatnonzero(batch.ids == NEGATIVE)
        masked = np.zeros((len(batch), self.classes), dtype=np.bool_)
        masked[dreamed, batch.classes[dreamed]] = True
        return masked
