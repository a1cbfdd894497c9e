"""Dark experience replay, with labels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from edge_cl.options import HeadOptions, MemoryOptions, Options
from edge_cl.state import Slot
from edge_cl.strategy import GradientStrategy
from edge_cl.types import Array, Batch, Bool, Float32

_LARGEST_HALF = 6e4


class DERPPOptions(HeadOptions, MemoryOptions):
    """Options of DER++."""

    distillation: float = Field(
        0.2, ge=0, description="The paper's alpha: weight of the squared error to old logits."
    )
    rehearsal: float = Field(
        0.5, ge=0, description="The paper's beta: weight of the exemplars' cross-entropy."
    )


class DERPP(GradientStrategy):
    """Replays exemplars with the logits they got when they were stored.

    One random draw is pulled towards its old logits, a second one towards its labels
    (Buzzega et al. 2020, eq. 6). Logits of classes that were unknown when an exemplar was
    stored are free: the squared error is over the classes that were known.
    """

    name: ClassVar[str] = "derpp"
    paper: ClassVar[str] = "Buzzega et al. 2020, arXiv:2004.07211, eq. 6"
    options_type: ClassVar[type[Options]] = DERPPOptions

    def columns(self, memory: str, classes: int) -> dict[str, Slot]:
        """Logits, in half precision, and the number of classes that these are of."""
        return {"logits": Slot((classes,), np.float16), "known": Slot((), np.uint16)}

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
        known = np.arange(self.classes) < self.memory.column("known")[slots][:, None]
        kept = self.memory.column("logits")[slots].astype(np.float32)
        by_logits = squared_error(forward.logits, kept, known)[1]
        return self.head.gradient(self.weights, forward, by_logits)

    def remember(self, batch: Batch) -> None:
        """Offer samples to the memory, with the logits that the head gives them now."""
        logits = self.head.logits(self.weights, self.normalise(batch.latents))
        kept = np.clip(logits, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
        known = np.full(len(batch), self.classes, dtype=np.uint16)
        self.memory.add(batch, self.rng, columns={"logits": kept, "known": known})


def squared_error(logits: Float32, targets: Float32, known: Bool) -> tuple[float, Float32]:
    """Mean of the squared error over the entries that are `known`, and its gradient.

    Parameters
    ----------
    logits, targets, known
        (N, C); what is not known counts for nothing.

    Returns
    -------
    The error, and its gradient (N, C) by `logits`.
    """
    difference = np.where(known, logits - targets, np.float32(0))
    entries = max(int(known.sum()), 1)
    value = float((difference * difference).sum()) / entries
    return value, difference * np.float32(2 / entries)
