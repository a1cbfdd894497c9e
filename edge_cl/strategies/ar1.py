"""AR1 with latent replay: the default learner."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.equations import path_importance
from edge_cl.normalised_head import BatchHead, NormalisedHead
from edge_cl.options import MemoryOptions, Options
from edge_cl.state import Slot
from edge_cl.strategies.cwr import CWR, CWROptions
from edge_cl.strategy import Experience, Needs
from edge_cl.types import Batch, Float32


class AR1Options(CWROptions, MemoryOptions):
    """Options of AR1."""

    codec: str = Field("uint4", description="How an exemplar is stored.")
    selection: str = Field("class_balanced", description="Which samples stay in the memory.")
    retrieval: str = Field("class_balanced", description="Which exemplars are replayed.")
    replay_batch: int = Field(32, ge=1, le=65536, description="Exemplars replayed in one step.")
    first_steps: int = Field(
        50,
        ge=1,
        le=1000,
        description="Steps on the first sample of a class; the n-th sample gets 1/n of them.",
    )
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
    norm: Literal["none", "batch", "batch_renorm"] = Field(
        "none", description="Normalisation of hidden layers over the batch."
    )
    norm_momentum: float = Field(
        0.05, gt=0, le=1, description="Share of a batch in the running statistics."
    )
    largest_ratio: float = Field(1.25, ge=1, description="Clips batch renormalisation's r.")
    largest_shift: float = Field(0.5, ge=0, description="Clips batch renormalisation's d.")


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

    def setup(self) -> None:
        """A head with normalised hidden layers, if the options say so."""
        super().setup()
        options = self.ar1_options
        if options.norm != "none":
            renormalised = options.norm == "batch_renorm"
            self.head = NormalisedHead(
                self.spec.dim,
                options.hidden,
                bias=self.last_layer_bias,
                largest_ratio=options.largest_ratio if renormalised else 1.0,
                largest_shift=options.largest_shift if renormalised else 0.0,
                momentum=options.norm_momentum,
            )

    @property
    def trains_body(self) -> bool:
        """Hidden layers always learn."""
        return True

    @property
    def protects(self) -> bool:
        """Whether Synaptic Intelligence holds the body; AR1*free does without."""
        return self.ar1_options.strength > 0

    @property
    def normalises(self) -> bool:
        """Whether steps look at the whole batch now."""
        return isinstance(self.head, BatchHead)

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """CWR*'s state, and Synaptic Intelligence's for the body."""
        if not self.protects:
            return super().slots(classes, contexts)
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
        if self.protects:
            self.anchor[:] = self.weights[: self.head.body_size]

    def repeats(self, batch: Batch) -> int:
        """More steps for the first samples of a class, so that few of them are enough."""
        known = self.memory.counts
        seen = [int(known[c]) if c < len(known) else 0 for c in np.unique(batch.classes)]
        return max(self.options.epochs, self.ar1_options.first_steps // (min(seen) + 1))

    def training_batch(self, batch: Batch) -> Batch:
        """The new samples and `replay_batch` exemplars, all counted by CWR*."""
        return super().training_batch(
            Batch.concat([batch, self.rehearse(self.ar1_options.replay_batch)])
        )

    def loss_gradient(self, batch: Batch) -> tuple[float, Float32]:
        """As that of any head; a normalised one looks at the whole batch, and tracks it."""
        if not (self.normalises and isinstance(self.head, BatchHead)):
            return super().loss_gradient(batch)
        forward = self.head.training_forward(self.weights, batch.latents)
        value, by_logits = self.loss(batch, forward)
        self.head.track(self.weights, forward)
        return value, self.head.gradient(self.weights, forward, by_logits)

    def update(self, gradient: Float32) -> None:
        """Step down loss and penalty; add the loss's share of the move to the path."""
        size = self.head.body_size
        of_loss, before = gradient[:size].copy(), self.weights[:size].copy()
        if self.protects:
            strength = np.float32(2 * self.ar1_options.strength)
            gradient[:size] += strength * self.importance * (before - self.anchor)
        super().update(gradient)
        if isinstance(self.head, BatchHead):
            # Weight decay would move what has no gradient.
            kept = np.flatnonzero(self.head.statistics())
            self.weights[kept] = before[kept]
        if self.protects:
            self.path -= of_loss * (self.weights[:size] - before)

    def end(self, experience: Experience) -> None:
        """Consolidate the last layer; add importance, and move the anchor here."""
        super().end(experience)
        if not self.protects:
            return
        body = self.weights[: self.head.body_size]
        self.importance += path_importance(self.path, body, self.anchor, self.ar1_options.damping)
        np.minimum(self.importance, self.ar1_options.largest_importance, out=self.importance)
        if isinstance(self.head, BatchHead):
            self.importance[~self.head.matrices()] = 0
        self.anchor[:] = body
        self.path[:] = 0

    @property
    def ar1_options(self) -> AR1Options:
        """The options, as those of AR1."""
        assert isinstance(self.options, AR1Options)
        return self.options
