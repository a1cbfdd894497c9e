"""Discriminant analysis on compressed statistics, joined with a replayed head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from edge_cl import scatter
from edge_cl.codec import make_codec
from edge_cl.equations import log_softmax
from edge_cl.memory import ReplayMemory
from edge_cl.options import HeadOptions, MemoryOptions, Options
from edge_cl.projection import StructuredProjection
from edge_cl.state import Role, Slot
from edge_cl.strategy import GradientStrategy
from edge_cl.types import Array, Batch, Float32, Int64, LatentSpec

PENDING = 16
"""Samples between two updates of the stored covariance."""

NARROWEST = 4
WIDEST = 3
"""Features at least; and at most, as a multiple of the latent's width."""

EXEMPLARS_A_CLASS = 25
"""Below this many exemplars a class, a replayed head adds nothing."""


class Layout(NamedTuple):
    """How the bytes are divided: features in the statistics, and whether there is a head."""

    width: int
    head: bool


class SLDAReplayOptions(HeadOptions, MemoryOptions):
    """Options of discriminant analysis with replay."""

    normalise: Literal["l2", "power_l2"] = Field(
        "power_l2", description="Features must have unit length, so that they fit fixed point."
    )
    optimizer: Literal["sgd"] = Field("sgd", description="Update rule of the head.")
    momentum: float = Field(0.0, ge=0, le=0, description="The head has none, to save bytes.")
    hidden: tuple[()] = Field((), description="The replayed head is linear.")
    softmax_over: Literal["seen"] = Field("seen", description="Classes in the softmax.")
    codec: str = Field("uint4", description="How an exemplar is stored.")
    selection: str = Field("class_balanced", description="Which samples stay in the memory.")
    width: int | None = Field(
        None, ge=NARROWEST, description="Features in the statistics at most; null fits the budget."
    )
    statistics_share: float = Field(
        0.5, gt=0, lt=1, description="Part of the budget for statistics beyond the latent's width."
    )
    shrinkage: float = Field(1e-2, gt=0, lt=1, description="Weight of the identity.")
    head_weight: float = Field(0.5, ge=0, description="Weight of the head's log-probabilities.")


class SLDAReplay(GradientStrategy):
    """Class means and one covariance in 16 bits; what is left of the budget is replayed.

    The statistics are those of streaming linear discriminant analysis (Hayes & Kanan 2020,
    eq. 2 to 6) on the latent and, where the budget allows, on random ReLU features of it
    (McDonnell et al. 2023, eq. 2). A linear head learns beside them from new samples and
    exemplars, and the two log-probabilities are added: a product of experts (Hinton 2002,
    eq. 1). When new classes need room, features are dropped from the end: what remains is
    exactly the statistics of the features that remain.
    """

    name: ClassVar[str] = "slda_replay"
    paper: ClassVar[str] = (
        "Hayes & Kanan 2020, arXiv:1909.01520, eq. 2 to 6; McDonnell et al. 2023, "
        "arXiv:2307.02251, eq. 2; Hinton 2002, doi:10.1162/089976602760128018, eq. 1"
    )
    options_type: ClassVar[type[Options]] = SLDAReplayOptions
    subtracts: ClassVar[bool] = True

    layout: Array
    mean: Array
    count: Int64
    triangle: Array
    variance: Float32
    pending: Array
    flushed: Int64
    coefficients: Array
    steps: Float32
    intercepts: Float32

    @property
    def _options(self) -> SLDAReplayOptions:
        assert isinstance(self.options, SLDAReplayOptions)
        return self.options

    # The division of the budget.

    def __init__(
        self, spec: LatentSpec, options: Options, *, seed: int = 0, allowed_bytes: int
    ) -> None:
        super().__init__(spec, options, seed=seed, allowed_bytes=allowed_bytes)
        self._cut(self.fitting(0, allowed_bytes))

    def setup(self) -> None:
        """Draw which features come first; they are dropped from the end."""
        super().setup()
        dim = self.spec.dim
        rng = np.random.Generator(np.random.PCG64(self.seed))
        self.order = tuple(rng.permutation(dim).tolist())
        self.project = StructuredProjection(dim, (WIDEST - 1) * dim, self.seed)
        self._now = Layout(self._options.width or WIDEST * dim, True)

    def constants(self) -> dict[str, Array]:
        """The order of the latent's values, and the projection's signs."""
        return {"order": np.array(self.order, dtype=np.int32), "signs": self.project.signs}

    def statistics_bytes(self, width: int, classes: int) -> int:
        """Bytes of all statistics at this many features and classes."""
        slots = self._statistics(Layout(width, False), classes)
        return sum(slot.total_bytes for slot in slots.values())

    def fitting(self, classes: int, allowed_bytes: int) -> Layout:
        """The layout for that many classes and bytes; never wider than the present one."""
        row_bytes = make_codec(self._options.codec, self.spec).row_bytes
        exemplars = ReplayMemory.bytes_for(
            row_bytes, EXEMPLARS_A_CLASS * max(classes, 1), self._options.selection
        )
        other = 1024 + sum(array.nbytes for array in self.constants().values())
        free = allowed_bytes - other - 16 * classes
        dim, widest = min(self.spec.dim, self._now.width), self._now.width
        with_head = free - exemplars - 8 * self.head.size(classes)
        if self._now.head and with_head >= self.statistics_bytes(dim, classes):
            shared = min(with_head, int(self._options.statistics_share * allowed_bytes))
            return Layout(max(dim, self._widest(classes, shared, widest)), True)
        least_memory = ReplayMemory.bytes_for(row_bytes, 1, self._options.selection)
        return Layout(self._widest(classes, free - least_memory, dim), False)

    def _widest(self, classes: int, allowed_bytes: int, limit: int) -> int:
        low, high = min(NARROWEST, limit), limit + 1
        while high - low > 1:
            middle = (low + high) // 2
            if self.statistics_bytes(middle, classes) <= allowed_bytes:
                low = middle
            else:
                high = middle
        return low

    def _statistics(self, layout: Layout, classes: int) -> dict[str, Slot]:
        width = layout.width
        return {
            "layout": Slot((2,), np.int64),
            "mean": Slot((classes, width), np.int16),
            "count": Slot((classes,), np.int64),
            "triangle": Slot((scatter.triangle_size(width),), np.int16),
            "variance": Slot((width,)),
            "pending": Slot((PENDING, width), np.float16),
            "flushed": Slot((1,), np.int64),
            "coefficients": Slot((classes, width), np.int8, Role.DERIVED),
            "steps": Slot((classes,), role=Role.DERIVED),
            "intercepts": Slot((classes,), role=Role.DERIVED),
        }

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """Statistics at the planned width; a head if there is room for one."""
        size = self.head.size(classes) if self._now.head else 0
        return {
            **self._statistics(self._now, classes),
            "weights": Slot((size,), role=Role.PUBLISHED),
        }

    def initialise(self) -> None:
        """The layout of an empty learner."""
        self.layout[:] = self._now

    def capacities(self, classes: int, contexts: int, allowed_bytes: int) -> dict[str, int]:
        """As every strategy's, at the layout that fits."""
        present, self._now = self._now, self.fitting(classes, allowed_bytes)
        try:
            return super().capacities(classes, contexts, allowed_bytes)
        finally:
            self._now = present

    def grow(self, classes: int, contexts: int, allowed_bytes: int) -> None:
        """Make room; features and the head are given up before a class is refused."""
        self.capacities(classes, contexts, allowed_bytes)
        self._cut(self.fitting(classes, allowed_bytes))
        super().grow(classes, contexts, allowed_bytes)

    def _cut(self, layout: Layout) -> None:
        """Drop features from the end, and the head if the layout has none."""
        if layout == self._now:
            return
        width = layout.width
        self.mean = self.mean[:, :width].copy()
        self.triangle = self.triangle[: scatter.triangle_size(width)].copy()
        self.variance = self.variance[:width].copy()
        self.pending = self.pending[:, :width].copy()
        if not layout.head:
            self.weights = self.weights[:0].copy()
        self._now = layout
        self.layout[:] = layout
        self._slots = self.slots(self.classes, self.contexts)

    def restore(
        self, arrays: Mapping[str, Array], classes: int, contexts: int, allowed_bytes: int
    ) -> None:
        """As every strategy's, at the layout that was saved."""
        if "layout" in arrays:
            self._now = Layout(int(arrays["layout"][0]), bool(arrays["layout"][1]))
        super().restore(arrays, classes, contexts, allowed_bytes)

    # Learning.

    def features(self, latents: Float32) -> Float32:
        """Features (N, W) in [-1, 1] of normalised latents (N, D)."""
        width, dim = self._now.width, self.spec.dim
        raw = latents[:, self.order[:width]]
        if width <= dim:
            return raw
        # Without its mean a latent's ReLU features are near zero-mean before the ReLU.
        centred = latents - latents.mean(axis=1, keepdims=True)
        random = np.maximum(self.project(centred)[:, : width - dim], np.float32(0))
        return np.concatenate([raw, np.minimum(random / np.float32(4), np.float32(1))], axis=1)

    def training_batch(self, batch: Batch) -> Batch:
        """The new samples and `replay_batch` exemplars."""
        return Batch.concat([batch, self.rehearse(self._options.replay_batch)])

    def step(self, batch: Batch) -> float:
        """One gradient step of the head, if there is one."""
        return super().step(batch) if self._now.head else 0.0

    def remember(self, batch: Batch) -> None:
        """Add every sample to the statistics, and offer it to the memory."""
        super().remember(batch)
        self.add(batch)

    def add(self, batch: Batch) -> None:
        """Add every sample to the statistics."""
        for row, c in zip(self.features(self.normalise(batch.latents)), batch.classes, strict=True):
            seen = int(self.count[c])
            move = row - self.mean[c] * np.float32(1 / scatter.STEPS)
            self.mean[c] = scatter.rounded(row - move * np.float32(seen / (seen + 1)), self.rng)
            self.pending[self.waiting] = move * np.float32(np.sqrt(seen / (seen + 1)))
            self.count[c] += 1
            if self.waiting == PENDING:
                scatter.store(self.covariance(), self.triangle, self.variance, self.rng)
                self.flushed[0] += PENDING

    @property
    def can_deny(self) -> bool:
        """The head can; the statistics cannot."""
        return self._now.head

    def absorb(self, batch: Batch) -> None:
        """Add to the statistics, and let the head learn."""
        super().absorb(batch)
        self.add(batch)

    def unlearn(self, batch: Batch) -> None:
        """Take every sample out of its class's mean, and out of the covariance around it."""
        total = self.covariance() * np.float32(self.count.sum())
        for row, c in zip(self.features(self.normalise(batch.latents)), batch.classes, strict=True):
            left, mean = int(self.count[c]) - 1, self.mean[c] * np.float32(1 / scatter.STEPS)
            without = mean - (row - mean) / np.float32(max(left, 1))
            self.mean[c] = scatter.rounded(without, self.rng) if left else 0
            away = (row - without) * np.float32(np.sqrt(left / (left + 1)))
            total -= away[:, None] * away
            self.count[c] = left
        self._rewrite(total / np.float32(max(int(self.count.sum()), 1)))

    def clear_class(self, cls: int) -> None:
        """Also leave the covariance as it is."""
        covariance = self.covariance()
        super().clear_class(cls)
        self._rewrite(covariance)

    def _rewrite(self, covariance: Float32) -> None:
        """Store a covariance of all that is counted; nothing waits any more."""
        variance = np.maximum(np.diagonal(covariance), np.float32(0))
        covariance[np.diag_indices(len(variance))] = variance
        scatter.store(covariance, self.triangle, self.variance, self.rng)
        self.flushed[0] = self.count.sum()

    @property
    def waiting(self) -> int:
        """Samples that are counted, but not yet in the stored covariance."""
        return int(self.count.sum() - self.flushed[0])

    def covariance(self) -> Float32:
        """Shared covariance (W, W) of all samples so far."""
        total = scatter.covariance(self.triangle, self.variance)
        total *= np.float32(self.flushed[0])
        waiting = self.pending[: self.waiting].astype(np.float32)
        total += waiting.T @ waiting
        total /= np.float32(max(int(self.count.sum()), 1))
        return total

    def settle(self) -> None:
        """Solve for the discriminants, and keep them as 8-bit rows."""
        matrix, means = self.covariance(), self.mean * np.float32(1 / scatter.STEPS)
        spread = np.sqrt(np.diagonal(matrix)).astype(np.float64)
        spread[spread == 0] = 1
        # Shrinking correlations, not covariances, treats features of any scale alike.
        related = matrix / spread[:, None] / spread * (1 - self._options.shrinkage)
        related[np.diag_indices(len(spread))] = 1
        # What all classes have in common decides nothing, and would eat the 8 bits.
        common = means.sum(axis=0) / np.float32(max(len(means), 1))
        apart = means - common
        solved = (np.linalg.solve(related, (apart / spread).T) / spread[:, None]).T
        self.intercepts = -(solved * (apart / 2 + common)).sum(axis=1).astype(np.float32)
        self.steps = (np.maximum(np.abs(solved).max(axis=1), 1e-30) / 127).astype(np.float32)
        self.coefficients = np.rint(solved / self.steps[:, None]).astype(np.int8)

    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Log-probabilities of the discriminants, and `head_weight` times the head's."""
        products = self.features(latents) @ self.coefficients.T.astype(np.float32)
        scores = log_softmax(products * self.steps + self.intercepts)
        if self._now.head:
            head = log_softmax(self.head.logits(self.weights, latents))
            scores += np.float32(self._options.head_weight) * head
        return scores
