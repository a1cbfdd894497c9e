"""Multi-head: a last layer of its own for every context."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.equations import log_softmax
from edge_cl.errors import ContextRequired
from edge_cl.head import Forward
from edge_cl.options import HeadOptions, Options
from edge_cl.state import Role, Slot
from edge_cl.strategy import Experience, GradientStrategy, Needs
from edge_cl.types import NO_CONTEXT, Array, Batch, Float32, Int64

OUTSIDE = np.float32(-1e9)


class MultiheadOptions(HeadOptions):
    """Options of multi-head."""

    softmax_over: Literal["context"] = Field(
        "context", description="Always the classes of the sample's context."
    )
    train_trunk: Literal["first", "always"] = Field(
        "first",
        description="Hidden layers learn in the first experience only, so that nothing is "
        "ever forgotten, or always, which is what forgets in the usual multi-head network.",
    )


class Multihead(GradientStrategy):
    """Every context has its own last layer; what lies below is shared.

    With a linear head, or a trunk that is frozen after the first experience, no sample of
    one context changes an answer in another: forgetting is exactly zero. Without a context
    at prediction, the context whose own softmax has the least entropy answers.
    """

    name: ClassVar[str] = "multihead"
    paper: ClassVar[str] = "Caruana 1997, doi:10.1023/A:1007379606734, as a continual learner"
    needs: ClassVar[Needs] = Needs(boundaries=True)
    options_type: ClassVar[type[Options]] = MultiheadOptions
    learns_denials: ClassVar[bool] = False

    trunk: Float32
    rows: Float32

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The trunk, class rows for every context, and the optimiser's state for one."""
        return {
            "trunk": Slot((self.trunk_size(contexts),), role=Role.PUBLISHED),
            "rows": Slot((contexts, classes, self.row_size), role=Role.PUBLISHED),
            "membership": Slot((contexts, classes), np.bool_, Role.PUBLISHED),
            **self.optimizer.slots(self.body_size(contexts - 1) + classes * self.row_size),
        }

    def initialise(self) -> None:
        """Random hidden layers; class rows start at zero."""
        self.trunk[:] = self.head.initial(0, self.rng)

    def step(self, batch: Batch) -> float:
        """One gradient step on the context's rows, and on the body while it may learn."""
        self._note_membership(batch)
        context = int(batch.contexts[0])
        body = self.body(context)
        weights = np.concatenate([body, self.rows[context].ravel()])
        forward = self.forward(weights, batch.latents, context)
        value, by_logits = self.loss(batch, forward)
        gradient = self.gradient(weights, forward, by_logits, context)
        names = self.optimizer.slots(0)
        state: dict[str, Array] = {name: getattr(self, name)[: len(weights)] for name in names}
        self.optimizer.update(weights, gradient, state)
        if self.trains_body(context):
            body[:] = weights[: len(body)]
        self.rows[context] = weights[len(body) :].reshape(self.classes, self.row_size)
        return value

    def end(self, experience: Experience) -> None:
        """The optimiser forgets: the next experience trains other rows."""
        for name in self.optimizer.slots(0):
            getattr(self, name)[:] = 0

    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Log-probabilities by the context's rows; the surest context's if none is given."""
        if context is not None:
            return self.context_scores(latents, context)
        scores = np.stack([self.context_scores(latents, k) for k in range(self.contexts)])
        entropy = -(np.exp(scores) * scores).sum(axis=2)
        surest: Float32 = scores[entropy.argmin(axis=0), np.arange(len(latents))]
        return surest

    def context_scores(self, latents: Float32, context: int) -> Float32:
        """Log-probabilities (N, C) of one context's classes; `OUTSIDE` elsewhere."""
        weights = np.concatenate([self.body(context), self.rows[context].ravel()])
        logits = self.forward(weights, latents, context).logits
        found = log_softmax(np.where(self.membership[context], logits, OUTSIDE))
        return np.maximum(found, OUTSIDE)

    def check_contexts(self, contexts: Int64) -> None:
        """Refuse samples without a context: they would have no last layer."""
        if (contexts == NO_CONTEXT).any():
            raise ContextRequired(f"strategy {self.name!r} needs a context with every sample")

    # What lies below the last layer.

    @property
    def row_size(self) -> int:
        """Weights of one class in one context."""
        return self.head.row_size

    def trunk_size(self, contexts: int) -> int:
        """Weights of all that is below the last layers."""
        return self.head.body_size

    def body_size(self, context: int) -> int:
        """Weights below the last layer of this context."""
        return self.head.body_size

    def body(self, context: int) -> Float32:
        """View of these weights."""
        return self.trunk

    def trains_body(self, context: int) -> bool:
        """Whether they may move now."""
        assert isinstance(self.options, MultiheadOptions)
        return self.options.train_trunk == "always" or self.experience.index == 1

    def forward(self, weights: Float32, latents: Float32, context: int) -> Forward:
        """Forward pass with a context's weights."""
        return self.head.forward(weights, latents)

    def gradient(
        self, weights: Float32, forward: Forward, by_logits: Float32, context: int
    ) -> Float32:
        """Gradient by these weights, flat."""
        return self.head.gradient(weights, forward, by_logits)
