"""What architectural methods share: contexts that cannot disturb each other.

Each context sees the head through its own choice of weights, and learns only what no
other context sees. What a context chose is kept as packed bits.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.codec.bits import packed_bytes
from edge_cl.head import Head
from edge_cl.optimizer import Optimizer
from edge_cl.options import HeadOptions, Options, Width
from edge_cl.state import Role, Slot
from edge_cl.strategy import Experience, GradientStrategy, Needs
from edge_cl.types import Array, Batch, Bool, Float32, UInt8


class IsolationOptions(HeadOptions):
    """Options of strategies that keep contexts apart."""

    hidden: tuple[Width, ...] = Field(
        (64,), description="Widths of hidden layers; without any, contexts share nothing."
    )
    learning_rate: float = Field(0.1, gt=0, le=100, description="Step length.")
    softmax_over: Literal["context"] = Field(
        "context", description="Classes in the softmax: always those of the sample's context."
    )


def matrices(head: Head, classes: int = 0) -> list[tuple[slice, int]]:
    """Where each layer's matrix lies in the flat weights, and how many inputs it has.

    The class rows are the last one, if `classes` are asked for.
    """
    found, start = [], 0
    for into, out in zip(head.widths, head.hidden, strict=False):
        found.append((slice(start, start + out * into), into))
        start += out * (into + 1)
    if classes:
        found.append((slice(start, head.size(classes)), head.feature_dim))
    return found


def matrix_positions(head: Head) -> Bool:
    """(body_size,): which weights of the hidden layers are no biases."""
    positions = np.zeros(head.body_size, dtype=np.bool_)
    for part, _ in matrices(head):
        positions[part] = True
    return positions


class IsolationStrategy(GradientStrategy):
    """A head of which every context sees, and may change, its own part.

    A class's row in the last layer belongs to the context that taught it first; another
    context that brings the class again finds the row frozen, and adapts what is below.
    """

    needs: ClassVar[Needs] = Needs(boundaries=True, context_to_predict=True, hidden_layer=True)
    options_type: ClassVar[type[Options]] = IsolationOptions
    learns_denials: ClassVar[bool] = False

    row_owner: Array

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The head's state, and for each class one more than its context's id."""
        return {**super().slots(classes, contexts), "row_owner": Slot((classes,), np.int64)}

    @abstractmethod
    def seen_weights(self, context: int) -> Float32:
        """The flat weights as this context sees them; not a view of the head's own."""

    def training_weights(self, context: int) -> Float32:
        """What `seen_weights` is while the context is in training; the same, as a rule."""
        return self.seen_weights(context)

    @abstractmethod
    def learn(self, context: int, gradient: Float32) -> None:
        """Change what is the context's, by the loss's gradient by `training_weights`."""

    def step(self, batch: Batch) -> float:
        """One gradient step on a batch of one context, on what that context may change."""
        context = int(batch.contexts[0])
        self._note_membership(batch)
        self.claim_rows(batch)
        seen = self.training_weights(context)
        forward = self.head.forward(seen, batch.latents)
        value, by_logits = self.loss(batch, forward)
        self.learn(context, self.head.gradient(seen, forward, by_logits))
        return value

    def claim_rows(self, batch: Batch) -> None:
        """Give the rows of classes that are new to the batch's context."""
        fresh = batch.classes[self.row_owner[batch.classes] == 0]
        self.row_owner[fresh] = batch.contexts[0] + 1

    def own_rows(self, context: int) -> Bool:
        """(C * row_size,): weights of the class rows that belong to the context."""
        return np.repeat(self.row_owner == context + 1, self.head.row_size)

    def update_only(self, free: Bool, gradient: Float32) -> None:
        """Let the update rule change the free weights, and leave all others bit-identical.

        A zero gradient is not enough: momentum and weight decay move weights without one.
        """
        before = self.weights.copy()
        self.update(np.where(free, gradient, np.float32(0)))
        np.copyto(self.weights, before, where=~free)

    def end(self, experience: Experience) -> None:
        """The next context starts without this one's momentum."""
        self.clear_slots(self.optimizer.slots(0))

    def clear_slots(self, names: Mapping[str, Slot]) -> None:
        """Set these arrays to zero."""
        for name in names:
            getattr(self, name)[:] = 0

    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Logits of the context's classes, by the weights that the context sees."""
        chosen = self.required_context(context)
        logits = self.head.logits(self.seen_weights(chosen), latents)
        return self.allowed_logits(logits, np.full(len(logits), chosen, dtype=np.int64))

    def required_context(self, context: int | None) -> int:
        """The context id; raises ContextRequired if there is none."""
        self.check_contexts(np.array([-1 if context is None else context]))
        assert context is not None
        return context


class MaskStrategy(IsolationStrategy):
    """Contexts that choose weights by a binary mask, learned through real scores.

    The mask is a step function of the scores; the gradient passes through the step as if
    it were not there: by a score it is that by the masked weight times the weight (Mallya
    et al. 2018; Ramanujan et al. 2020). Scores exist for the context in
    training alone; every context's mask is kept, one bit a weight.
    """

    masks: UInt8
    mask_scores: Float32

    @property
    @abstractmethod
    def mask_rule(self) -> Optimizer:
        """The update rule of the scores."""

    @abstractmethod
    def maskable(self) -> Float32:
        """(M,) the weights that masks choose from; 0 where the mask does not matter."""

    @property
    @abstractmethod
    def mask_size(self) -> int:
        """Bits M of a mask."""

    @abstractmethod
    def initial_scores(self) -> Float32:
        """(M,) scores of a context that begins."""

    @abstractmethod
    def scores_of(self, mask: Bool) -> Float32:
        """(M,) scores with this mask, for a context that comes back."""

    @abstractmethod
    def mask_of(self, scores: Float32) -> Bool:
        """(M,) the mask of these scores."""

    def mask_slots(self, contexts: int) -> dict[str, Slot]:
        """A packed mask a context, and scores and their rule's state for one."""
        size = self.mask_size
        rule = {f"mask_{name}": slot for name, slot in self.mask_rule.slots(size).items()}
        masks = Slot((contexts, packed_bytes(size, 1)), np.uint8, Role.PUBLISHED)
        return {"masks": masks, "mask_scores": Slot((size,)), **rule}

    def mask(self, context: int) -> Bool:
        """(M,) the context's mask."""
        return np.unpackbits(self.masks[context], count=self.mask_size).astype(np.bool_)

    def begin(self, experience: Experience) -> None:
        """Fresh scores; a context that was here before goes on from its mask."""
        context = experience.context
        known = bool(self.membership[context].any())
        self.mask_scores[:] = self.scores_of(self.mask(context)) if known else self.initial_scores()
        self.masks[context] = np.packbits(self.mask_of(self.mask_scores))
        self.clear_slots({f"mask_{name}": slot for name, slot in self.mask_rule.slots(0).items()})

    def train_mask(self, context: int, by_masked: Float32) -> None:
        """One step of the scores down the straight-through gradient, and the new mask."""
        state: dict[str, Array] = {
            name: getattr(self, f"mask_{name}") for name in self.mask_rule.slots(0)
        }
        self.mask_rule.update(self.mask_scores, by_masked * self.maskable(), state)
        self.masks[context] = np.packbits(self.mask_of(self.mask_scores))
