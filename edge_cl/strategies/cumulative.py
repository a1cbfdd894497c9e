"""Cumulative training: everything so far, from where the last training ended."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from edge_cl.options import Options
from edge_cl.state import Role, Slot
from edge_cl.strategies.joint import Joint, JointOptions
from edge_cl.strategy import Experience, GradientStrategy, Needs
from edge_cl.types import Float32


class CumulativeOptions(JointOptions):
    """Options of cumulative training."""

    passes: int = Field(4, ge=1, le=1024, description="Passes over all samples at a training.")


class Cumulative(Joint):
    """At the end of each experience, trains on all samples so far from the present weights.

    Unlike joint training it never restarts: each training is short, and what it reaches
    depends on the order of arrival. While an experience is open, what is served is the
    head as it would be if the experience ended now.
    """

    name: ClassVar[str] = "cumulative"
    paper: ClassVar[str] = "baseline (Lomonaco & Maltoni 2017, arXiv:1705.03550, section 4.1)"
    needs: ClassVar[Needs] = Needs(boundaries=True, history=True)
    options_type: ClassVar[type[Options]] = CumulativeOptions

    served: Float32

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The weights that the last experience left, and those that are served."""
        size = self.head.size(classes)
        return {
            **super().slots(classes, contexts),
            "weights": Slot((size,)),
            "served": Slot((size,), role=Role.DERIVED),
        }

    def initialise(self) -> None:
        """Random hidden layers; class rows start at zero."""
        GradientStrategy.initialise(self)

    def consolidated(self) -> Float32:
        """The weights as they would be if the experience ended now; a pure function."""
        if not self.experience.is_open:
            return self.weights.copy()
        seed = [self.seed, self.experience.index]
        return self.trained(self.weights.copy(), np.random.Generator(np.random.PCG64(seed)))

    def end(self, experience: Experience) -> None:
        """Train on the union of all experiences."""
        self.weights[:] = self.consolidated()

    def settle(self) -> None:
        """What is served: the head as if the experience ended now."""
        self.served = self.consolidated()

    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Logits of the head that is served."""
        return self.scores_with(self.served, latents, context)
