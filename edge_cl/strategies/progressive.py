"""Progressive networks: a new column for every context, reading the frozen ones."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.column import Column, ColumnForward
from edge_cl.head import Forward
from edge_cl.options import HeadOptions, Options, Width
from edge_cl.state import Slot
from edge_cl.strategies.multihead import Multihead
from edge_cl.strategy import Experience, Needs
from edge_cl.types import Bool, Float32


class ProgressiveOptions(HeadOptions):
    """Options of progressive networks."""

    hidden: tuple[Width, ...] = Field(
        (32,), min_length=1, description="Widths of a column's hidden layers, at least one."
    )
    adapter: int = Field(16, ge=1, le=65536, description="Width of a lateral adapter.")
    lateral_scale: float = Field(0.1, gt=0, description="First value of the paper's alpha.")
    optimizer: Literal["sgd", "adam"] = Field("adam", description="Update rule.")
    learning_rate: float = Field(1e-2, gt=0, le=100, description="Step length.")
    softmax_over: Literal["context"] = Field(
        "context", description="Always the classes of the sample's context."
    )


class Progressive(Multihead):
    """Every context gets a network of its own that reads the hidden layers of all before it.

    The lateral connections go through adapters (Rusu et al. 2016, eq. 2): the earlier
    columns' activations, each column's scaled by a learned alpha, a ReLU layer, and
    weights into the next layer. A column is frozen when its first experience ends; a
    context that comes again trains its last layer alone, which no other column reads.
    """

    name: ClassVar[str] = "progressive"
    paper: ClassVar[str] = "Rusu et al. 2016, arXiv:1606.04671, eq. 2"
    needs: ClassVar[Needs] = Needs(boundaries=True, hidden_layer=True)
    options_type: ClassVar[type[Options]] = ProgressiveOptions

    frozen: Bool
    begun: Bool

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The bodies of all columns one after the other, their rows, and which are frozen."""
        flags = Slot((contexts,), np.bool_)
        return {**super().slots(classes, contexts), "begun": flags, "frozen": flags}

    def initialise(self) -> None:
        """No column yet."""

    def begin(self, experience: Experience) -> None:
        """A context that is met first gets a fresh column."""
        k = experience.context
        if not self.begun[k]:
            self.begun[k] = True
            self.body(k)[:] = self.column(k).initial(
                self.rng, self.progressive_options.lateral_scale
            )

    def end(self, experience: Experience) -> None:
        """Freeze the column."""
        super().end(experience)
        self.frozen[experience.context] = True

    @property
    def row_size(self) -> int:
        """Weights of one class in one column."""
        return self.column(0).row_size

    def trunk_size(self, contexts: int) -> int:
        """Weights of the bodies of all columns."""
        return sum(self.body_size(k) for k in range(contexts))

    def body_size(self, context: int) -> int:
        """Weights of a column's body."""
        return self.column(context).body_size if context >= 0 else 0

    def body(self, context: int) -> Float32:
        """View of a column's body."""
        start = self.trunk_size(context)
        return self.trunk[start : start + self.body_size(context)]

    def trains_body(self, context: int) -> bool:
        """A column learns until it is frozen."""
        return not self.frozen[context]

    def column(self, context: int) -> Column:
        """Architecture of a context's column."""
        options = self.progressive_options
        return Column(self.spec.dim, options.hidden, context, options.adapter)

    def lateral(self, latents: Float32, context: int) -> list[Float32]:
        """Per hidden layer, (N, context, H_l): what the columns before this one see."""
        widths = self.progressive_options.hidden
        seen = [np.empty((len(latents), context, width), np.float32) for width in widths]
        for k in range(context):
            column = self.column(k)
            forward = column.forward(self.body(k), latents, [layer[:, :k] for layer in seen])
            for layer, activation in zip(seen, column.hidden_of(forward), strict=True):
                layer[:, k] = activation
        return seen

    def forward(self, weights: Float32, latents: Float32, context: int) -> Forward:
        """Forward pass of a column and of those that it reads."""
        lateral = self.lateral(latents, context)
        return self.column(context).forward(weights, latents, lateral)

    def gradient(
        self, weights: Float32, forward: Forward, by_logits: Float32, context: int
    ) -> Float32:
        """Gradient by one column's weights; those that it reads get none."""
        assert isinstance(forward, ColumnForward)
        return self.column(context).gradient(weights, forward, by_logits)

    @property
    def progressive_options(self) -> ProgressiveOptions:
        """The options, as those of progressive networks."""
        assert isinstance(self.options, ProgressiveOptions)
        return self.options
