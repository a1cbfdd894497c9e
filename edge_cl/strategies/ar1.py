"""AR1 with latent replay: the default learner."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from edge_cl.equations import path_importance
from edge_cl.options import MemoryOptions, Options
from edge_cl.state import Slot
from edge_cl.strategies.cwr import CWR, CWROptions
from edge_cl.strategy import Experience, Needs
from edge_cl.types import Batch, Float32


class AR1Options(CWROptions, MemoryOptions):
    """Options of AR1."""

    codec: str = Field("uint4", description="How an exemplar is stored.")
    selection: str = Field("class_balanced", description="Which samples stay in the memory.")
    experience_samples: int | None = Field(
        None,
        ge=1,
        description="Consolidate after this many samples, beside changes of the context and "
        "explicit ends; null leaves it to those.",
    )
    strength: float = Field(
        1.0, ge=0, description="Weight of the penalty on hidden layers; 0 is AR1*free."
    )
    damping: float = Field(1e-7, gt=0, description="The xi of Synaptic Intelligence.")
    largest_importance: float = Field(1e-3, gt=0, description="Importances are clipped to this.")


class AR1(CWR):
    """CWR* on the last layer, Synaptic Intelligence below it, and latent replay.

    Hidden layers keep learning, held by the clipped importance of their weights for
    earlier experiences (Maltoni & Lomonaco 2019, section 4; Pellegrini et al. 2020 adds
    replay). With a linear head there is nothing below the last layer, and AR1 is CWR* with
    latent replay.
    """

    name: ClassVar[str] = "ar1"
    paper: ClassVar[str] = (
        "Maltoni & Lomonaco 2019, arXiv:1806.08568; with replay: Pellegrini et al. 2020, "
        "arXiv:1912.01100"
    )
    needs: ClassVar[Needs] = Needs(boundaries=True, hidden_layer=True)
    options_type: ClassVar[type[Options]] = AR1Options

    path: Float32
    importance: Float32
    anchor: Float32

    @property
    def trains_body(self) -> bool:
        """Hidden layers always learn."""
        return True

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """CWR*'s state, and Synaptic Intelligence's for the body."""
        body = Slot((self.head.body_size,))
        return {
            **super().slots(classes, contexts),
            "path": body,
            "importance": body,
            "anchor": body,
        }

    def initialise(self) -> None:
        """The first anchor is the first body."""
        super().initialise()
        self.anchor[:] = self.weights[: self.head.body_size]

    def training_batch(self, batch: Batch) -> Batch:
        """The new samples and `replay_batch` exemplars, all counted by CWR*."""
        assert isinstance(self.options, MemoryOptions)
        return super().training_batch(
            Batch.concat([batch, self.rehearse(self.options.replay_batch)])
        )

    def update(self, gradient: Float32) -> None:
        """Step down loss and penalty; add the loss's share of the move to the path."""
        assert isinstance(self.options, AR1Options)
        size = self.head.body_size
        of_loss, before = gradient[:size].copy(), self.weights[:size].copy()
        gradient[:size] += (
            np.float32(2 * self.options.strength) * self.importance * (before - self.anchor)
        )
        super().update(gradient)
        self.path -= of_loss * (self.weights[:size] - before)

    def end(self, experience: Experience) -> None:
        """Consolidate the last layer; add importance, and move the anchor here."""
        assert isinstance(self.options, AR1Options)
        super().end(experience)
        body = self.weights[: self.head.body_size]
        self.importance += path_importance(self.path, body, self.anchor, self.options.damping)
        np.minimum(self.importance, self.options.largest_importance, out=self.importance)
        self.anchor[:] = body
        self.path[:] = 0
