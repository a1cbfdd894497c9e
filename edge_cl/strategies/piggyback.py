"""Piggyback: one backbone, and a binary mask of it for every context."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from edge_cl.isolation import IsolationOptions, MaskStrategy, matrix_positions
from edge_cl.optimizer import Adam, Optimizer
from edge_cl.options import Options
from edge_cl.state import Slot
from edge_cl.types import Bool, Float32


class PiggybackOptions(IsolationOptions):
    """Options of Piggyback."""

    mask_rate: float = Field(1e-4, gt=0, le=1, description="Adam's rate for the mask scores.")
    initial_score: float = Field(1e-2, gt=0, description="Where a mask's scores begin.")
    threshold: float = Field(5e-3, ge=0, description="A weight is used above this score.")


class Piggyback(MaskStrategy):
    """The first experience trains the hidden layers; later contexts mask their weights.

    Mask and class rows are all that a later context learns (Mallya, Davis & Lazebnik 2018,
    section 3); the weights and all biases stay as the first experience left them. The
    first context's mask is all ones.
    """

    name: ClassVar[str] = "piggyback"
    paper: ClassVar[str] = "Mallya, Davis & Lazebnik 2018, arXiv:1801.06519, section 3"
    options_type: ClassVar[type[Options]] = PiggybackOptions

    @property
    def piggyback_options(self) -> PiggybackOptions:
        """The options, as Piggyback's."""
        assert isinstance(self.options, PiggybackOptions)
        return self.options

    @property
    def mask_rule(self) -> Optimizer:
        """Adam."""
        return Adam(self.piggyback_options.mask_rate)

    @property
    def mask_size(self) -> int:
        """All hidden weights."""
        return self.head.body_size

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The head, the packed masks, and the scores of the context in training."""
        return {**super().slots(classes, contexts), **self.mask_slots(contexts)}

    def maskable(self) -> Float32:
        """Hidden weights; biases are never masked."""
        masked: Float32 = self.weights[: self.mask_size] * matrix_positions(self.head)
        return masked

    def initial_scores(self) -> Float32:
        """All above the threshold: a context begins with the whole backbone."""
        return np.full(self.mask_size, self.piggyback_options.initial_score, dtype=np.float32)

    def scores_of(self, mask: Bool) -> Float32:
        """The initial score where the mask is set, its mirror image at the threshold elsewhere."""
        options = self.piggyback_options
        low = 2 * options.threshold - options.initial_score
        return np.where(mask, options.initial_score, low).astype(np.float32)

    def mask_of(self, scores: Float32) -> Bool:
        """Scores above the threshold."""
        mask: Bool = scores > np.float32(self.piggyback_options.threshold)
        return mask

    def seen_weights(self, context: int) -> Float32:
        """The backbone under the context's mask."""
        seen = self.weights.copy()
        seen[: self.mask_size] *= self.mask(context)
        return seen

    def learn(self, context: int, gradient: Float32) -> None:
        """Train the class rows, and the backbone first, its mask from then on."""
        is_first = self.experience.index == 1
        body = np.full(self.mask_size, is_first)
        if not is_first:
            self.train_mask(context, gradient[: self.mask_size])
        self.update_only(np.concatenate([body, self.own_rows(context)]), gradient)
