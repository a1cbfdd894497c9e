"""Progress & compress: an active column learns, a knowledge base remembers."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.column import Column
from edge_cl.equations import distillation_gradient, softmax
from edge_cl.options import HeadOptions, Options, Width
from edge_cl.state import Role, Slot, zeros
from edge_cl.strategies.ewc import window_fisher
from edge_cl.strategy import Experience, GradientStrategy, MemoryPlan, Needs
from edge_cl.types import Batch, Float32


class ProgressCompressOptions(HeadOptions):
    """Options of progress & compress."""

    hidden: tuple[Width, ...] = Field(
        (32,), min_length=1, description="Widths of hidden layers, of both columns; at least one."
    )
    adapter: int = Field(16, ge=1, le=65536, description="Width of a lateral adapter.")
    lateral_scale: float = Field(0.1, gt=0, description="First value of the adapters' scales.")
    reset_active: bool = Field(True, description="Every experience starts a fresh active column.")
    optimizer: Literal["sgd", "adam"] = Field("adam", description="Update rule.")
    learning_rate: float = Field(1e-2, gt=0, le=100, description="Step length.")
    strength: float = Field(100.0, ge=0, description="Weight of the penalty, lambda.")
    decay: float = Field(0.95, ge=0, le=1, description="Decay of the Fisher, gamma.")
    compress_passes: int = Field(
        4, ge=1, le=1000, description="Passes over the window that compress one experience."
    )
    compress_batch: int = Field(32, ge=1, le=4096, description="Latents in one such step.")
    window_samples: int = Field(
        1000, ge=1, description="Latents of the present experience that are kept for them."
    )
    codec: str = Field("uint8", description="How these are stored.")


class ProgressCompress(GradientStrategy):
    """Learns in an active column, then distils it into a knowledge base that EWC protects.

    Progress: the active column trains on the new samples and reads the knowledge base
    through adapters. Compress, when the experience ends: the knowledge base learns the
    active column's answers on a window of the experience, held by online EWC (Schwarz et
    al. 2018, eq. 1 and 2, section 3.2). Predictions come from the knowledge base; before
    the experience ends, from what it would be if it ended now.
    """

    name: ClassVar[str] = "progress_compress"
    paper: ClassVar[str] = "Schwarz et al. 2018, arXiv:1805.06370, eq. 1 and 2, section 3.2"
    needs: ClassVar[Needs] = Needs(boundaries=True, second_pass=True, hidden_layer=True)
    options_type: ClassVar[type[Options]] = ProgressCompressOptions
    learns_denials: ClassVar[bool] = False

    knowledge: Float32
    importance: Float32
    anchor: Float32
    served: Float32

    def setup(self) -> None:
        """The knowledge base is a plain head; the active column reads it."""
        super().setup()
        options = self.pc_options
        self.active = Column(self.spec.dim, options.hidden, 1, options.adapter)

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """Both columns, and online EWC's importance and anchor of the knowledge base."""
        size = self.active.body_size + classes * self.active.row_size
        base = Slot((self.head.size(classes),))
        return {
            **super().slots(classes, contexts),
            "weights": Slot((size,)),
            **self.optimizer.slots(size),
            "knowledge": base,
            "importance": base,
            "anchor": base,
            "served": Slot(base.shape, role=Role.DERIVED),
        }

    def initialise(self) -> None:
        """Random hidden layers in both; class rows start at zero."""
        self.weights[:] = self.active.initial(self.rng, self.pc_options.lateral_scale)
        self.knowledge[:] = self.head.initial(0, self.rng)
        self.anchor[:] = self.knowledge

    def begin(self, experience: Experience) -> None:
        """A fresh active column, if the options say so."""
        if self.pc_options.reset_active and experience.index > 1:
            self.weights[:] = 0
            body = self.active.initial(self.rng, self.pc_options.lateral_scale)
            self.weights[: len(body)] = body
            for name in self.optimizer.slots(0):
                getattr(self, name)[:] = 0

    def step(self, batch: Batch) -> float:
        """Progress (eq. 1): one step of the active column; the knowledge base is only read."""
        self._note_membership(batch)
        forward = self.active.forward(self.weights, batch.latents, self.lateral(batch.latents))
        value, by_logits = self.loss(batch, forward)
        self.update(self.active.gradient(self.weights, forward, by_logits))
        return value

    def lateral(self, latents: Float32) -> list[Float32]:
        """Per hidden layer, (N, 1, H_l): what the knowledge base sees."""
        inputs = self.head.forward(self.knowledge, latents).inputs[1:]
        return [layer[:, None] for layer in inputs]

    def end(self, experience: Experience) -> None:
        """Compress; then the Fisher, at the compressed weights, and the anchor."""
        self.knowledge[:] = self.compressed()
        self.importance *= np.float32(self.pc_options.decay)
        self.importance += window_fisher(self, self.knowledge)
        self.anchor[:] = self.knowledge

    def compressed(self) -> Float32:
        """The knowledge base after `compress_passes` over the window (eq. 2).

        Draws from a generator of its own, so that what is served equals what the end of
        the experience will make of the same state.
        """
        options, knowledge = self.pc_options, self.knowledge.copy()
        rng = np.random.Generator(np.random.PCG64([self.seed, self.experience.index]))
        state = {k: zeros(slot) for k, slot in self.optimizer.slots(len(knowledge)).items()}
        window = self.memories["window"]
        pull = np.float32(options.strength * options.decay) * self.importance
        for _ in range(options.compress_passes if len(window) else 0):
            order = rng.permutation(len(window))
            for start in range(0, len(order), options.compress_batch):
                rows = window.rows(order[start : start + options.compress_batch])
                gradient = self.distillation_gradient(knowledge, self.normalised(rows))
                gradient += pull * (knowledge - self.anchor)
                self.optimizer.update(knowledge, gradient, state)
        return knowledge

    def distillation_gradient(self, knowledge: Float32, batch: Batch) -> Float32:
        """Gradient of KL(active column || knowledge base), by the latter's weights."""
        lateral = self.lateral(batch.latents)
        taught = self.active.forward(self.weights, batch.latents, lateral).logits
        targets = softmax(self.allowed_logits(taught, batch.contexts))
        forward = self.head.forward(knowledge, batch.latents)
        logits = self.allowed_logits(forward.logits, batch.contexts)
        by_logits = distillation_gradient(logits, targets)
        return self.head.gradient(knowledge, forward, by_logits)

    def settle(self) -> None:
        """What is served: the knowledge base as if the experience ended now."""
        self.served = self.compressed()

    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Logits of the knowledge base."""
        return self.scores_with(self.served, latents, context)

    def memory_plans(self) -> dict[str, MemoryPlan]:
        """A window of the present experience."""
        options = self.pc_options
        return {
            "window": MemoryPlan(
                1.0, options.codec, samples=options.window_samples, per_experience=True
            )
        }

    @property
    def pc_options(self) -> ProgressCompressOptions:
        """The options, as those of progress & compress."""
        assert isinstance(self.options, ProgressCompressOptions)
        return self.options
