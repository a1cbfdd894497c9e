"""CWR*: copy weights with re-init, for any order of classes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from edge_cl.equations import consolidation_weight
from edge_cl.options import HeadOptions, Options
from edge_cl.state import Role, Slot
from edge_cl.strategy import Experience, GradientStrategy, Needs
from edge_cl.types import Array, Batch, Float32, Int64


class CWROptions(HeadOptions):
    """Options of CWR*."""

    experience_samples: int | None = Field(
        300,
        ge=1,
        description="Consolidate after this many samples, beside changes of the context and "
        "explicit ends; null leaves it to those.",
    )


class CWR(GradientStrategy):
    """Trains temporary class rows, and consolidates them when an experience ends.

    A row's consolidated value is the mean of its past and its new value, weighted by the
    square root of how many samples each saw, after the mean of all new weights has been
    taken off (Lomonaco et al. 2020, algorithm 1). The last layer has no bias. Hidden
    layers are trained in the first experience, then frozen.
    """

    name: ClassVar[str] = "cwr"
    paper: ClassVar[str] = "Lomonaco, Maltoni & Pellegrini 2020, arXiv:1907.03799, algorithm 1"
    needs: ClassVar[Needs] = Needs(boundaries=True)
    options_type: ClassVar[type[Options]] = CWROptions
    last_layer_bias: ClassVar[bool] = False

    consolidated: Float32
    past: Array
    current: Array
    served: Float32

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """Temporary weights as the head's own, consolidated rows, and sample counts."""
        slots = super().slots(classes, contexts)
        size = self.head.size(classes)
        return {
            **slots,
            "weights": Slot((size,)),
            "consolidated": Slot((classes, self.head.feature_dim)),
            "past": Slot((classes,), np.float64),
            "current": Slot((classes,), np.float64),
            "served": Slot((size,), role=Role.DERIVED),
        }

    def step(self, batch: Batch) -> float:
        """One gradient step on the temporary rows; the body moves if `trains_body`."""
        body = self.weights[: self.head.body_size].copy()
        loss = super().step(batch)
        if not self.trains_body:
            self.weights[: self.head.body_size] = body
        return loss

    @property
    def trains_body(self) -> bool:
        """Whether hidden layers may move now."""
        return self.experience.index == 1

    def training_batch(self, batch: Batch) -> Batch:
        """What is trained on, after classes new to this experience got their rows."""
        self.load_rows(batch.classes)
        return batch

    def load_rows(self, classes: Int64) -> None:
        """Count `classes`; those first met in this experience start at their past row."""
        counts = np.bincount(classes, minlength=self.classes)
        met_first = (counts > 0) & (self.current == 0)
        self.head.rows(self.weights)[met_first] = self.consolidated[met_first]
        self.current += counts

    def consolidated_rows(self) -> Float32:
        """Rows (C, H) as they would be if the experience ended now (algorithm 1, line 14)."""
        rows = self.consolidated.copy()
        met = self.current > 0
        if met.any():
            temporary = self.head.rows(self.weights)[met]
            weight = consolidation_weight(self.past[met], self.current[met])[:, None]
            rows[met] = (rows[met] * weight + temporary - temporary.mean()) / (weight + 1)
        return rows

    def end(self, experience: Experience) -> None:
        """Consolidate, and clear the temporary rows and the optimiser's memory of them."""
        self.consolidated[:] = self.consolidated_rows()
        self.past += self.current
        self.current[:] = 0
        self.weights[self.head.body_size :] = 0
        for name in self.optimizer.slots(0):
            getattr(self, name)[:] = 0

    def present_weights(self) -> Float32:
        """The body, and the rows as if the experience ended now."""
        present = self.weights.copy()
        self.head.rows(present)[:] = self.consolidated_rows()
        return present

    def shift_rows(self, change: Float32) -> None:
        """Temporary and consolidated rows alike, so that their mean moves as far."""
        super().shift_rows(change)
        self.consolidated += change

    def settle(self) -> None:
        """What is served is what is present."""
        self.served = self.present_weights()

    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Logits of the consolidated rows."""
        return self.scores_with(self.served, latents, context)
