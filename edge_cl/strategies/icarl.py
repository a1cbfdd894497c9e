"""iCaRL: herded exemplars, distillation, and the nearest mean of exemplars."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.equations import l2, one_hot, sigmoid
from edge_cl.head import Forward
from edge_cl.memory.selection.herding import herding_order
from edge_cl.options import HeadOptions, Options, Width
from edge_cl.state import Role, Slot
from edge_cl.strategy import Experience, GradientStrategy, MemoryPlan, Needs
from edge_cl.types import Array, Batch, Bool, Float32

FEATURE_ROWS = 256


class ICaRLOptions(HeadOptions):
    """Options of iCaRL."""

    hidden: tuple[Width, ...] = Field(
        (64,),
        description="Widths of hidden layers. With () features are the latents, and training "
        "has no influence on predictions.",
    )
    optimizer: Literal["sgd", "adam"] = Field("adam", description="Update rule.")
    learning_rate: float = Field(1e-2, gt=0, le=100, description="Step length.")
    memory_samples: int | None = Field(
        None, ge=1, description="Exemplars at most; null fills three quarters of the free budget."
    )
    window_samples: int | None = Field(
        None, ge=1, description="Samples of the present experience at most, to herd from."
    )
    replay_batch: int = Field(32, ge=1, le=65536, description="Exemplars replayed in one step.")
    window_batch: int = Field(
        32,
        ge=0,
        le=65536,
        description="Samples of the present experience shown again in one step, for the "
        "paper's many passes; 0 where the caller makes these itself.",
    )
    codec: str = Field("uint8", description="How an exemplar is stored.")


class ICaRL(GradientStrategy):
    """Keeps the exemplars whose mean is the class's, and answers the nearest such mean.

    Every class is a sigmoid output: one-hot targets for new classes, the teacher's outputs
    for old ones, on new samples and exemplars alike (Rebuffi et al. 2017, algorithm 3).
    When an experience ends, each class keeps M / C exemplars: new ones by herding
    (algorithm 4), old ones by dropping the tail of their order (algorithm 5). Predictions
    are by the nearest mean of exemplars (algorithm 1).
    """

    name: ClassVar[str] = "icarl"
    paper: ClassVar[str] = "Rebuffi et al. 2017, arXiv:1611.07725, algorithms 1 to 5"
    needs: ClassVar[Needs] = Needs(boundaries=True, second_pass=True, hidden_layer=True)
    options_type: ClassVar[type[Options]] = ICaRLOptions
    learns_denials: ClassVar[bool] = False

    teacher: Float32
    old: Bool
    means: Float32

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The head's state, the teacher's weights, the classes it answers for, and means."""
        return {
            **super().slots(classes, contexts),
            "teacher": Slot((self.head.size(classes),)),
            "old": Slot((classes,), np.bool_),
            "means": Slot((classes, self.head.feature_dim), role=Role.DERIVED),
        }

    def memory_plans(self) -> dict[str, MemoryPlan]:
        """Exemplars in the order of herding, and a window of the present experience."""
        options = self.icarl_options
        return {
            "memory": MemoryPlan(
                0.75, options.codec, selection="class_balanced", samples=options.memory_samples
            ),
            "window": MemoryPlan(
                0.25, options.codec, samples=options.window_samples, per_experience=True
            ),
        }

    def remember(self, batch: Batch) -> None:
        """Exemplars are chosen when the experience ends."""
        self.memories["window"].add(batch, self.rng)

    def training_batch(self, batch: Batch) -> Batch:
        """New samples, whose classes are new from now on, with exemplars and the window."""
        self.old[batch.classes] = False
        exemplars = self.rehearse(self.icarl_options.replay_batch)
        again = self.rehearse(self.icarl_options.window_batch, "window")
        return Batch.concat([batch, exemplars, again])

    def loss(self, batch: Batch, forward: Forward) -> tuple[float, Float32]:
        """Mean binary cross-entropy over samples and classes (algorithm 3)."""
        logits, targets = forward.logits, one_hot(batch.classes, self.classes)
        if self.old.any():
            answers = sigmoid(self.head.logits(self.teacher, batch.latents))
            targets[:, self.old] = answers[:, self.old]
        gradient = (sigmoid(logits) - targets) / np.float32(logits.size)
        value = float((np.logaddexp(0, logits) - targets * logits).mean())
        return value, gradient

    def end(self, experience: Experience) -> None:
        """Reduce, herd, and become the teacher."""
        window = self.memories["window"]
        new = np.flatnonzero(window.counts)
        held = np.union1d(np.flatnonzero(self.memory.counts), new)
        share = self.memory.capacity // max(len(held), 1)
        self.reduce(share)
        for c in new.tolist():
            rows = Batch.concat([self.memory.of_class(c), window.of_class(c)])
            self.memory.discard(self.memory.slots_of_class(c))
            order = herding_order(self.features(rows.latents), share)
            self.memory.add(rows[order], self.rng)
        self.teacher[:] = self.weights
        self.old[:] = True

    def reduce(self, share: int) -> None:
        """Each class keeps the first `share` of its exemplars: slots are in their order."""
        surplus: list[Array] = [
            np.sort(self.memory.slots_of_class(c))[share:]
            for c in np.flatnonzero(self.memory.counts > share).tolist()
        ]
        if surplus:
            self.memory.discard(np.concatenate(surplus))

    def make_room(self, memory: str, capacity: int) -> None:
        """Exemplars give way from the tail."""
        if memory == "memory":
            self.reduce(capacity // max(int((self.memory.counts > 0).sum()), 1))

    def features(self, latents: Float32) -> Float32:
        """Features (N, H) of raw latents, of unit length."""
        return l2(self.head.features(self.weights, self.normalise(latents)))

    def settle(self) -> None:
        """Means of exemplars; classes of the present experience have its window too."""
        self.means = np.zeros((self.classes, self.head.feature_dim), dtype=np.float32)
        for memory in self.memories.values():
            for rows in memory.chunks(FEATURE_ROWS):
                np.add.at(self.means, rows.classes, self.features(rows.latents))
        self.means = l2(self.means)

    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Inner products with the means; as both have unit length, the nearest is largest."""
        scores: Float32 = l2(self.head.features(self.weights, latents)) @ self.means.T
        if context is None:
            return scores
        return self.allowed_logits(scores, np.full(len(scores), context, dtype=np.int64))

    @property
    def icarl_options(self) -> ICaRLOptions:
        """The options, as those of iCaRL."""
        assert isinstance(self.options, ICaRLOptions)
        return self.options
