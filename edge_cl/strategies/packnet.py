"""PackNet: contexts packed into one head by pruning."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from edge_cl.codec.bits import packed_bytes
from edge_cl.errors import Conflict
from edge_cl.isolation import (
    IsolationOptions,
    IsolationStrategy,
    matrices,
    matrix_positions,
)
from edge_cl.options import MemoryOptions, Options
from edge_cl.state import Role, Slot
from edge_cl.strategy import Experience, MemoryPlan, Needs
from edge_cl.types import Array, Bool, Float32, Int64, UInt8


class PackNetOptions(IsolationOptions, MemoryOptions):
    """Options of PackNet; the memory is a window of the present context alone."""

    planned_contexts: int = Field(
        10, ge=1, le=255, description="Contexts there is room for; more are refused."
    )
    prune: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Part of the free weights given back after each context; null gives "
        "every planned context an equal share.",
    )
    retrain_steps: int = Field(
        500,
        ge=0,
        description="Most steps on the window after pruning; never more than half of the "
        "context's own.",
    )


class PackNet(IsolationStrategy):
    """After each context keeps its largest weights for good, and frees the rest.

    Train the free weights, set those of smallest magnitude in each layer to zero, train
    the survivors again, and freeze them (Mallya & Lazebnik 2018, section 3). A context is
    predicted with its own and earlier contexts' weights.
    """

    name: ClassVar[str] = "packnet"
    paper: ClassVar[str] = "Mallya & Lazebnik 2018, arXiv:1711.05769, section 3"
    needs: ClassVar[Needs] = Needs(
        boundaries=True, context_to_predict=True, second_pass=True, hidden_layer=True
    )
    options_type: ClassVar[type[Options]] = PackNetOptions

    owner_bits: UInt8
    steps_taken: Array

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The head, and whose each hidden weight is: 0 nobody's, k + 1 context k's."""
        planes = (contexts.bit_length(), packed_bytes(self.head.body_size, 1))
        return {
            **super().slots(classes, contexts),
            "owner_bits": Slot(planes, np.uint8, Role.PUBLISHED),
            "steps_taken": Slot((1,), np.int64),
        }

    def memory_plans(self) -> dict[str, MemoryPlan]:
        """A window of the present experience, for the second training."""
        (name, plan), *_ = super().memory_plans().items()
        window = {**vars(plan), "per_experience": True}
        return {name: MemoryPlan(**window)}

    def check_contexts(self, contexts: Int64) -> None:
        """Refuse samples without a context, and contexts for which nothing is left."""
        super().check_contexts(contexts)
        assert isinstance(self.options, PackNetOptions)
        newest, planned = int(contexts.max(initial=-1)), self.options.planned_contexts
        if newest < self.contexts:
            return
        full = self.contexts > 0 and not ((self.owners() == 0) & matrix_positions(self.head)).any()
        if newest >= planned or (full and self.head.body_size):
            raise Conflict(
                f"strategy 'packnet' has no free weights for context number {newest + 1}: "
                f"planned_contexts is {planned}, and {self.contexts} are learned; make a "
                "learner with more planned_contexts or more hidden units"
            )

    def owners(self) -> UInt8:
        """(body_size,) owner of every hidden weight."""
        owners = np.zeros(self.head.body_size, dtype=np.uint8)
        for bit, plane in enumerate(np.unpackbits(self.owner_bits, axis=1, count=len(owners))):
            owners |= plane << bit
        return owners

    def visible(self, context: int, owners: UInt8) -> Bool:
        """Hidden weights of the context and earlier ones; free ones too until it is closed."""
        visible: Bool = (owners > 0) & (owners <= context + 1)
        return visible if (owners == context + 1).any() else visible | (owners == 0)

    def seen_weights(self, context: int) -> Float32:
        """The weights, with hidden ones of later contexts at zero."""
        seen = self.weights.copy()
        seen[: self.head.body_size] *= self.visible(context, self.owners())
        return seen

    def learn(self, context: int, gradient: Float32) -> None:
        """Train the free weights; in the context closed last, its own."""
        owners = self.owners()
        closed = bool((owners == context + 1).any())
        own = context + 1 if closed and owners.max() == context + 1 else 0
        free = (owners == own) & (not closed or own > 0)
        self.update_only(np.concatenate([free, self.own_rows(context)]), gradient)
        self.steps_taken += 1

    def end(self, experience: Experience) -> None:
        """Prune and freeze; train the survivors again; see `kept`."""
        super().end(experience)
        owners = self.owners()
        if not (owners == experience.context + 1).any():
            kept = self.kept(experience.context, owners)
            self.weights[: self.head.body_size][(owners == 0) & ~kept] = 0
            owners[kept] = experience.context + 1
            for bit, plane in enumerate(self.owner_bits):
                plane[:] = np.packbits(owners >> bit & 1)
            self.retrain()
            super().end(experience)
        self.steps_taken[:] = 0

    def kept(self, context: int, owners: UInt8) -> Bool:
        """(body_size,) free weights that the context keeps.

        In every layer those of largest magnitude among the free ones, and all biases,
        which are therefore fixed after the first context.
        """
        assert isinstance(self.options, PackNetOptions)
        left = max(self.options.planned_contexts - context, 1)
        share = 1 / left if self.options.prune is None else 1 - self.options.prune
        kept: Bool = (owners == 0) & ~matrix_positions(self.head)
        for part, _ in matrices(self.head):
            free = part.start + np.flatnonzero(owners[part] == 0)
            order = np.argsort(-np.abs(self.weights[free]), kind="stable")
            kept[free[order[: int(np.ceil(share * len(free)))]]] = True
        return kept

    def retrain(self) -> None:
        """Steps on the window with what was kept (section 3, the paper's second training)."""
        assert isinstance(self.options, PackNetOptions)
        steps = min(self.options.retrain_steps, int(self.steps_taken[0]) // 2)
        for _ in range(steps if len(self.memory) else 0):
            self.step(self.rehearse(self.options.replay_batch))
