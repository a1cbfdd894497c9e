"""Dark experience replay, with labels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from edge_cl.options import HeadOptions, MemoryOptions, Options
from edge_cl.state import Slot
from edge_cl.strategy import GradientStrategy
from edge_cl.types import Array, Batch, Float32

_LARGEST_HALF = 6e4


class DERPPOptions(HeadOptions, MemoryOptions):
    """Options of DER++."""

    learning_rate: float = Field(0.5, gt=0, le=100, description="Step length.")
    distillation: float = Field(
        0.2, ge=0, description="The paper's alpha: weight of the squared error to old logits."
    )
    rehearsal: float = Field(
        1.0, ge=0, description="The paper's beta: weight of the exemplars' cross-entropy."
    )


class DERPP(GradientStrategy):
    """Replays exemplars with the logits they got when they were stored.

    One random draw is pulled towards its old logits, a second one towards its labels
    (Buzzega et al. 2020, eq. 6). The old logit of a class that came later is 0, which is
    what a row that starts at zero would have given.
    """

    name: ClassVar[str] = "derpp"
    paper: ClassVar[str] = "Buzzega et al. 2020, arXiv:2004.07211, eq. 6"
    options_type: ClassVar[type[Options]] = DERPPOptions

    def columns(self, memory: str, classes: int) -> dict[str, Slot]:
        """Logits, in half precision; new classes pad those of old exemplars with zeros."""
        return {"logits": Slot((classes,), np.float16)}

    def step(self, batch: Batch) -> float:
        """One step down the sum of the three losses."""
        options = self.options
        assert isinstance(options, DERPPOptions)
        self._note_membership(batch)
        value, gradient = self.loss_gradient(batch)
        first = self.memory.draw(options.replay_batch, self.rng)
        second = self.memory.draw(options.replay_batch, self.rng)
        if len(first):
            gradient += np.float32(options.distillation) * self.logit_gradient(first)
            labelled = self.normalised(self.memory.rows(second))
            gradient += np.float32(options.rehearsal) * self.loss_gradient(labelled)[1]
        self.update(gradient)
        return value

    def logit_gradient(self, slots: Array) -> Float32:
        """Gradient of the mean squared error to the logits kept in `slots`, flat."""
        rows = self.normalised(self.memory.rows(slots))
        forward = self.head.forward(self.weights, rows.latents)
        difference = forward.logits - self.memory.column("logits")[slots]
        by_logits = difference * np.float32(2 / difference.size)
        return self.head.gradient(self.weights, forward, by_logits)

    def remember(self, batch: Batch) -> None:
        """Offer samples to the memory, with the logits that the head gives them now."""
        logits = self.head.logits(self.weights, self.normalise(batch.latents))
        kept = np.clip(logits, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
        self.memory.add(batch, self.rng, columns={"logits": kept})
