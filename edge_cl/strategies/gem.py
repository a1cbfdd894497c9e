"""Gradient episodic memory."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from edge_cl.options import HeadOptions, Options
from edge_cl.state import Slot
from edge_cl.strategy import Experience, GradientStrategy, MemoryPlan, Needs
from edge_cl.types import NO_CONTEXT, Array, Batch, Float32, Float64


class GEMOptions(HeadOptions):
    """Options of GEM."""

    learning_rate: float = Field(0.5, gt=0, le=100, description="Step length.")
    codec: str = Field("uint8", description="How an exemplar is stored.")
    memory_samples: int | None = Field(
        None, ge=1, description="Exemplars at most; null fills the memory budget."
    )
    samples_per_context: int = Field(
        256, ge=1, description="Newest samples of each context that are kept; fewer if all "
        "contexts so far would not fit.",
    )  # fmt: skip
    margin: float = Field(0.5, ge=0, description="Least weight of an old context's gradient.")
    constraints: int = Field(
        20, ge=1, le=1000, description="Old contexts told apart at most; more share constraints."
    )


class GEM(GradientStrategy):
    """Steps only where no old context's loss rises, to first order.

    Before each step the gradient on every old context's exemplars is compared with that
    of the new samples. If any of them points the other way, the step is the nearest one
    that agrees with all of them (Lopez-Paz & Ranzato 2017, eq. 8 to 11).
    """

    name: ClassVar[str] = "gem"
    paper: ClassVar[str] = "Lopez-Paz & Ranzato 2017, arXiv:1706.08840, algorithm 1, eq. 8 to 11"
    needs: ClassVar[Needs] = Needs(boundaries=True)
    options_type: ClassVar[type[Options]] = GEMOptions

    cursor: Array

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The head, and how many samples of the experience were remembered."""
        return {**super().slots(classes, contexts), "cursor": Slot((1,), np.int64)}

    def memory_plans(self) -> dict[str, MemoryPlan]:
        """One memory for all contexts."""
        options = self.options
        assert isinstance(options, GEMOptions)
        return {"memory": MemoryPlan(1.0, options.codec, samples=options.memory_samples)}

    def columns(self, memory: str, classes: int) -> dict[str, Slot]:
        """Which constraint each exemplar belongs to."""
        return {"group": Slot((), np.uint16)}

    def begin(self, experience: Experience) -> None:
        """The ring of the new experience begins."""
        self.cursor[:] = 0

    @property
    def group(self) -> int:
        """Constraint of the present samples: of their context, else of the experience."""
        assert isinstance(self.options, GEMOptions)
        now = self.experience
        task = now.index - 1 if now.context == NO_CONTEXT else now.context
        return task % self.options.constraints

    def shape_gradient(self, gradient: Float32, batch: Batch) -> Float32:
        """The gradient, projected if it disagrees with an old context's."""
        assert isinstance(self.options, GEMOptions)
        groups = self.memory.column("group")
        old = np.setdiff1d(groups, [self.group])
        if not len(old):
            return gradient
        parts = [self.memory.rows(np.flatnonzero(groups == group)) for group in old]
        past = np.stack([self.loss_gradient(self.normalised(part))[1] for part in parts])
        return projected(gradient, past, self.options.margin)

    def remember(self, batch: Batch) -> None:
        """Keep the newest samples of each context, in a ring."""
        for n in range(len(batch)):
            group = np.array([self.group], dtype=np.uint16)
            self.memory.put(self.next_slot(), batch[n : n + 1], {"group": group})
            self.cursor += 1

    def next_slot(self) -> int:
        """Where the next sample goes: the own ring if that is full, free room, or another's."""
        assert isinstance(self.options, GEMOptions)
        memory, groups = self.memory, self.memory.column("group")
        sizes = np.bincount(groups, minlength=self.group + 1)
        own, sizes[self.group] = int(sizes[self.group]), 0
        share = max(memory.capacity // (int(np.count_nonzero(sizes)) + 1), 1)
        if own >= min(self.options.samples_per_context, share):
            return int(np.flatnonzero(groups == self.group)[int(self.cursor[0]) % own])
        if len(memory) < memory.capacity:
            return len(memory)
        return int(self.rng.choice(np.flatnonzero(groups == sizes.argmax())))


def projected(gradient: Float32, past: Float32, margin: float) -> Float32:
    """The step of GEM: `gradient` (P,) itself, or what its dual makes of it.

    Parameters
    ----------
    gradient
        (P,) of the new samples.
    past
        (K, P) of the old contexts.
    margin
        Least value of each dual variable.
    """
    wide, rows = gradient.astype(np.float64), past.astype(np.float64)
    agreement = rows @ wide
    if (agreement >= 0).all():
        return gradient
    gram = rows @ rows.T + 1e-3 * np.eye(len(rows))
    weights = margin + nonnegative_minimum(gram, agreement + margin * gram.sum(axis=1))
    return (wide + weights @ rows).astype(np.float32)


def nonnegative_minimum(matrix: Float64, slope: Float64) -> Float64:
    """Where ``u'Au/2 + b'u`` is least over u >= 0, for a positive definite A.

    An active-set method (Lawson & Hanson 1974, chapter 23): exact, and for K variables
    about K solutions of small linear systems.

    Parameters
    ----------
    matrix, slope
        A (K, K) and b (K,).
    """
    point, is_free = np.zeros_like(slope), np.zeros(len(slope), dtype=np.bool_)
    tolerance = 1e-12 * max(float(np.abs(slope).max()), 1.0)
    for _ in range(3 * len(slope)):
        descent = np.where(is_free, 0, -(matrix @ point + slope))
        if descent.max() <= tolerance:
            break
        is_free[descent.argmax()] = True
        while True:
            target = np.zeros_like(point)
            target[is_free] = np.linalg.solve(matrix[np.ix_(is_free, is_free)], -slope[is_free])
            blocked = is_free & (target <= 0)
            if not blocked.any():
                break
            reach = (point[blocked] / (point[blocked] - target[blocked])).min()
            point += reach * (target - point)
            is_free &= point > tolerance
        point = target
    return point
