"""Discriminant analysis on compressed statistics, beside a memory of exemplars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from edge_cl import factors, fixed_point, scatter
from edge_cl.codec import make_codec
from edge_cl.codec.bits import packed_bytes
from edge_cl.layout import (
    LEAST_WAITING,
    MEAN_BITS,
    MOST_WAITING,
    NARROWEST,
    Layout,
    best_layout,
)
from edge_cl.memory import ReplayMemory
from edge_cl.older_layouts import upgraded
from edge_cl.options import MemoryOptions, Options
from edge_cl.state import Role, Slot, enlarged, zeros
from edge_cl.strategy import Strategy
from edge_cl.types import Array, Batch, Bool, Float32, Int8, Int64, UInt8

LEAST_KEPT = 0.05
"""Of a sample's own part in the precision at most all but this is taken out."""


class Statistics(NamedTuple):
    """All that is known of the samples so far, in floats."""

    counts: Int64
    means: Float32
    covariance: Float32
    factors: dict[int, tuple[Int64, Float32]]
    """Picked features (own,) and factor (rank, own) of the classes whose samples waited."""

    def common(self) -> Float32:
        """The mean of the means."""
        taught = self.means[self.counts > 0]
        mean: Float32 = taught.sum(axis=0) / max(len(taught), 1)
        return mean


class SLDAReplayOptions(MemoryOptions):
    """Options of discriminant analysis with exemplars."""

    normalise: Literal["l2", "power_l2"] = Field(
        "power_l2", description="Features must have unit length, so that they fit fixed point."
    )
    codec: str = Field("uint4", description="How an exemplar is stored.")
    selection: str = Field("class_balanced", description="Which samples stay in the memory.")
    width: int | None = Field(
        None, ge=NARROWEST, description="Features in the statistics at most; null fits the budget."
    )
    rank: int = Field(32, ge=0, le=512, description="Directions kept of each class at most.")
    statistics_share: float = Field(
        0.945, gt=0, lt=1, description="Part of the budget for statistics; the rest is exemplars."
    )
    shrinkage: float = Field(
        1e-2, gt=0, lt=1, description="Weight of the identity in the covariance after many samples."
    )
    class_weight: float = Field(
        0.2, ge=0, le=1, description="Weight of a class's own covariance after many samples."
    )


class SLDAReplay(Strategy):
    """Class means, a shared covariance, and what is particular to each class's own.

    Means and covariance are those of streaming linear discriminant analysis (Hayes &
    Kanan 2020, eq. 2 to 6). Of each class's covariance the directions are kept in which it
    exceeds the shared one most, and shrunk towards that (Friedman 1989, eq. 15; in
    continual learning Goswami et al. 2023): the discriminants are quadratic along them,
    and linear along all others. When new classes need room, features and directions are
    dropped from the end: what remains is exactly the statistics of those that remain.
    """

    name: ClassVar[str] = "slda_replay"
    paper: ClassVar[str] = (
        "Hayes & Kanan 2020, arXiv:1909.01520, eq. 2 to 6; Friedman 1989, "
        "doi:10.1080/01621459.1989.10478752; Goswami et al. 2023, arXiv:2309.14062"
    )
    options_type: ClassVar[type[Options]] = SLDAReplayOptions
    subtracts: ClassVar[bool] = True
    learns_denials: ClassVar[bool] = True

    layout: Int64
    order: Array
    mean: UInt8
    mean_step: Float32
    count: Int64
    triangle: UInt8
    variance: Float32
    picked: UInt8
    factor: Int8
    factor_step: Float32
    waiting: Int8
    waiting_step: Float32
    waiting_class: Int64
    waits: Int64
    linear: Int8
    along: UInt8
    along_picked: UInt8
    steps: Float32
    offsets: Float32

    @property
    def _options(self) -> SLDAReplayOptions:
        assert isinstance(self.options, SLDAReplayOptions)
        return self.options

    # The division of the budget.

    def setup(self) -> None:
        """Begin narrow, and as wide as can be with the first sample."""
        narrow = min(NARROWEST, self.spec.dim)
        self._now = Layout(narrow, narrow, 0, LEAST_WAITING)
        self._is_empty = True

    def fitting(self, classes: int, allowed_bytes: int) -> Layout:
        """The layout for that many classes and bytes; never larger than one in use."""
        options, exemplar = self._options, make_codec(self._options.codec, self.spec)
        width = min(options.width or self.spec.dim, self.spec.dim)
        most = Layout(width, width, options.rank, MOST_WAITING)
        if not self._is_empty:
            now = self._now
            most = Layout(
                min(width, now.width), min(width, now.own), min(most.rank, now.rank), most.waiting
            )
        least_memory = ReplayMemory.bytes_for(exemplar.row_bytes, 1, options.selection)
        codec_bytes = sum(array.nbytes for array in exemplar.arrays().values())
        other = 1024 + least_memory + codec_bytes + 4 * self.spec.dim
        allowed = min(allowed_bytes - other, int(options.statistics_share * allowed_bytes))
        return best_layout(most, self.spec.dim, classes, allowed)

    def _statistics(self, layout: Layout, classes: int) -> dict[str, Slot]:
        width, own, rank, waiting, bits = layout
        mean, shown = packed_bytes(width, MEAN_BITS), packed_bytes(own, bits)
        marks = Slot((classes, packed_bytes(width, 1)), np.uint8)
        return {
            "layout": Slot((5,), np.int64),
            "mean": Slot((classes, mean), np.uint8),
            "mean_step": Slot((classes,)),
            "count": Slot((classes,), np.int64),
            "triangle": Slot((scatter.triangle_bytes(width),), np.uint8),
            "variance": Slot((width,)),
            "picked": marks,
            "factor": Slot((classes, rank, own), np.int8),
            "factor_step": Slot((classes, rank)),
            "waiting": Slot((waiting, width), np.int8),
            "waiting_step": Slot((waiting,)),
            "waiting_class": Slot((waiting,), np.int64),
            "waits": Slot((1,), np.int64),
            "linear": Slot((classes, width), np.int8, Role.DERIVED),
            "along": Slot((classes, rank, shown), np.uint8, Role.DERIVED),
            "along_picked": replace(marks, role=Role.DERIVED),
            "steps": Slot((classes, 1 + rank), role=Role.DERIVED),
            "offsets": Slot((classes, 1 + rank), role=Role.DERIVED),
        }

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """Statistics at the present layout, and the order of the latent's values."""
        order = Slot((self.spec.dim,), np.uint16, Role.PUBLISHED)
        return {"order": order, **self._statistics(self._now, classes)}

    def initialise(self) -> None:
        """The layout of an empty learner, its features in an order by chance."""
        self.layout[:] = self._now
        self.order[:] = self._drawn_order()

    def _drawn_order(self) -> Array:
        """The latent's values in an order by chance, for while nothing is known of them."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        return rng.permutation(self.spec.dim).astype(np.uint16)

    def capacities(self, classes: int, contexts: int, allowed_bytes: int) -> dict[str, int]:
        """As every strategy's, at the layout that fits."""
        present, self._now = self._now, self.fitting(classes, allowed_bytes)
        try:
            return super().capacities(classes, contexts, allowed_bytes)
        finally:
            self._now = present

    def grow(self, classes: int, contexts: int, allowed_bytes: int) -> None:
        """Make room; features and directions are given up before a class is refused."""
        self.capacities(classes, contexts, allowed_bytes)
        self._arrange(self.fitting(classes, allowed_bytes))
        super().grow(classes, contexts, allowed_bytes)

    def _arrange(self, layout: Layout) -> None:
        """Begin with a layout, or drop features and directions from the end."""
        if layout == self._now:
            return
        kept = None
        if not self._is_empty and layout[:2] != self._now[:2]:
            kept = self._sort(layout)
        elif not self._is_empty and layout.waiting < self._now.waiting:
            self._fold()
        self._now = layout
        self._slots = self.slots(self.classes, self.contexts)
        for name in self._state_names():
            slot = self._slots[name]
            old = zeros(slot) if self._is_empty else getattr(self, name)
            setattr(self, name, enlarged(old[tuple(map(slice, slot.shape))], slot))
        self.layout[:] = layout
        if kept is not None:
            self._keep_factors(kept)
        if self._is_empty:
            self.initialise()

    def _sort(self, layout: Layout) -> dict[int, tuple[Int64, Float32]]:
        """Put those features first that stay, which tell most of the others.

        Returns what is kept of every class's factor, of these features.
        """
        self._fold()
        covariance = scatter.covariance(self.triangle, self.variance)
        shrunk = self.shrunk(covariance, self.count)
        first = scatter.most_telling(shrunk)
        self.order[: len(first)] = self.order[first]
        self._keep_means(slice(None), self._means()[:, first])
        scatter.store(covariance[np.ix_(first, first)], self.triangle, self.variance, self.rng)
        stay = first[: layout.width]
        whole, _ = factors.completed(shrunk, *self._factors())
        rows = whole[:, : layout.rank, stay]
        solved = np.linalg.solve(shrunk[np.ix_(stay, stay)], rows.reshape(-1, len(stay)).T).T
        solved = solved.reshape(rows.shape)
        return {
            c: factors.merged(rows[c], solved[c], layout.rank, layout.own)
            for c in range(self.classes)
        }

    def restore(
        self, arrays: Mapping[str, Array], classes: int, contexts: int, allowed_bytes: int
    ) -> None:
        """As every strategy's, at the layout that was saved."""
        arrays = upgraded(arrays, self.spec, self._drawn_order(), self.normalise)
        if "layout" in arrays and arrays["layout"].shape == (5,):
            self._now = Layout(*arrays["layout"].tolist())
        self._is_empty = classes == 0
        super().restore(arrays, classes, contexts, allowed_bytes)

    # Learning.

    def features(self, latents: Float32) -> Float32:
        """The first features (N, W) of normalised latents (N, D)."""
        return latents[:, self.order[: self._now.width]]

    def step(self, batch: Batch) -> float:
        """Nothing is iterated: `remember` adds each sample once."""
        return 0.0

    def remember(self, batch: Batch) -> None:
        """Offer every sample to the memory, and add it to the statistics."""
        super().remember(batch)
        self.absorb(batch)

    def absorb(self, batch: Batch) -> None:
        """Let every sample wait; those that wait are added together."""
        self._is_empty = False
        rows, steps = fixed_point.to_8(self.features(self.normalise(batch.latents)))
        for row, step, c in zip(rows, steps, batch.classes, strict=True):
            at = self.waits[0]
            self.waiting[at], self.waiting_step[at], self.waiting_class[at] = row, step, c
            self.waits += 1
            if self.waits[0] == self._now.waiting:
                self._fold()

    def known(self) -> Statistics:
        """The statistics, with the samples that wait."""
        sums, moves, classes = self._sums()
        if not self._now.rank:
            return sums
        return sums._replace(factors=self._merged(moves, classes, sums.counts, sums.covariance))

    def _sums(self) -> tuple[Statistics, Float32, Int64]:
        """All but the factors, and each waiting sample's deviation (N, W) and class (N,)."""
        many = int(self.waits[0])
        classes, count, means = self.waiting_class[:many], self.count.copy(), self._means()
        moves = fixed_point.floats(self.waiting[:many], self.waiting_step[:many])
        for move, c in zip(moves, classes, strict=True):
            move -= means[c]
            means[c] += move / np.float32(count[c] + 1)
            move *= np.float32(np.sqrt(count[c] / (count[c] + 1)))
            count[c] += 1
        covariance = scatter.covariance(self.triangle, self.variance)
        covariance *= np.float32(self.count.sum())
        covariance += moves.T @ moves
        covariance /= np.float32(max(int(count.sum()), 1))
        return Statistics(count, means, covariance, {}), moves, classes

    def _merged(
        self, moves: Float32, classes: Int64, count: Int64, covariance: Float32
    ) -> dict[int, tuple[Int64, Float32]]:
        """The factors of the classes (N,), with the deviations (N, W) of their samples."""
        touched = np.unique(classes)
        shrunk = self.shrunk(covariance, count)
        new = np.linalg.solve(shrunk, moves.T).T
        picked, rows = self._factors(touched)
        rows *= np.sqrt(self.count[touched]).astype(np.float32)[:, None, None]
        old = factors.completed(shrunk, picked, rows)
        found = {}
        for c, *both in zip(touched.tolist(), *old, strict=True):
            added = (moves[classes == c], new[classes == c])
            stacks = [np.concatenate(two) for two in zip(both, added, strict=True)]
            scale = 1 / np.sqrt(np.float32(count[c]))
            found[c] = factors.merged(
                stacks[0] * scale, stacks[1] * scale, self._now.rank, self._now.own
            )
        return found

    def _fold(self) -> None:
        """Add the samples that wait, in the bytes that there are."""
        known, touched = self.known(), np.unique(self.waiting_class[: self.waits[0]])
        self._keep_means(touched, known.means[touched])
        self._keep_factors(known.factors)
        scatter.store(known.covariance, self.triangle, self.variance, self.rng)
        self.count[:] = known.counts
        self.waits[:] = 0

    def _means(self) -> Float32:
        """The means (C, W) as they are kept."""
        codes = fixed_point.unpack(self.mean, MEAN_BITS, self._now.width)
        return fixed_point.floats(codes, self.mean_step)

    def _keep_means(self, classes: Int64 | slice, means: Float32) -> None:
        codes, self.mean_step[classes] = fixed_point.integers(means, MEAN_BITS, self.rng)
        self.mean[classes] = fixed_point.pack(codes, MEAN_BITS)

    def _factors(self, classes: Int64 | slice = slice(None)) -> tuple[Int64, Float32]:
        """Picked features (C, own) and factors (C, rank, own) as they are kept."""
        picked = factors.read_picks(self.picked[classes], *self._now[:2])
        return picked, fixed_point.floats(self.factor[classes], self.factor_step[classes])

    def _keep_factors(self, found: Mapping[int, tuple[Int64, Float32]]) -> None:
        for c, (picked, rows) in found.items():
            self.picked[c] = factors.pick_bits(picked, self._now.width)
            self.factor[c], self.factor_step[c] = fixed_point.to_8(rows, self.rng)

    # Corrections.

    def unlearn(self, batch: Batch) -> None:
        """Take every sample out of its class's mean, and out of the covariance around it."""
        self._fold()
        known = self.known()
        total = known.covariance * np.float32(known.counts.sum())
        for row, c in zip(self.features(self.normalise(batch.latents)), batch.classes, strict=True):
            left = int(self.count[c]) - 1
            without = known.means[c] - (row - known.means[c]) / np.float32(max(left, 1))
            known.means[c] = without if left else 0
            away = (row - without) * np.float32(np.sqrt(left / (left + 1)))
            total -= away[:, None] * away
            self.count[c] = left
            if not left:
                self.factor[c] = 0
        self._keep_means(batch.classes, known.means[batch.classes])
        total /= np.float32(max(int(self.count.sum()), 1))
        total[np.diag_indices(len(total))] = np.maximum(np.diagonal(total), np.float32(0))
        scatter.store(total, self.triangle, self.variance, self.rng)

    def clear_class(self, cls: int) -> None:
        """Also leave the covariance as it is."""
        self._fold()
        super().clear_class(cls)

    def deny(self, batch: Batch, denied: Bool) -> None:
        """Move means away from each sample until its density has fallen by the factor e.

        It falls by what two roundings of the published rows may take back beside.
        """
        for row, those in zip(self.features(self.normalise(batch.latents)), denied, strict=True):
            if self.waits[0]:
                self._fold()
            known, which = self.known(), np.flatnonzero(those)
            away, centred = known.means[which] - row, known.means[which] - known.common()
            shrunk = self.shrunk(known.covariance, known.counts)
            solved = np.linalg.solve(shrunk, np.concatenate([away, centred]).T).T
            picked, kept = self._factors(which)
            _, directions = self._own_directions(shrunk, picked, kept, known.counts[which])
            squares = (away * solved[: len(which)]).sum(axis=1)
            own = np.einsum("crv,cv->cr", directions, np.take_along_axis(away, picked, axis=1))
            squares -= 2 * np.square(own).sum(axis=1)
            fall = 1 + 2 * fixed_point.to_8(solved[len(which) :])[1]
            away *= np.sqrt(1 + 2 * fall / np.maximum(squares, np.float32(1e-6)))[:, None] - 1
            self._keep_means(which, known.means[which] + away)

    # Predicting.

    def shrunk(self, covariance: Float32, count: Int64) -> Float32:
        """The covariance with the identity's part, which is small after many samples."""
        width, weight = len(covariance), np.float32(self._identity_part(len(covariance), count))
        size = np.trace(covariance) / width or np.float32(1)
        mixed = covariance * (1 - weight)
        mixed[np.diag_indices(width)] += weight * size
        return mixed

    def _identity_part(self, width: int, count: Int64) -> float:
        free = max(int(count.sum()) - int((count > 0).sum()), 0)
        few = width / (width + free)
        return few + (1 - few) * self._options.shrinkage

    def settle(self) -> None:
        """Solve for the discriminants, and keep them as rows of few bits."""
        count, means, covariance, recent = known = self.known()
        # What all classes have in common decides nothing, and would eat the 8 bits.
        common, shrunk = known.common(), self.shrunk(covariance, count)
        linear = np.linalg.solve(shrunk, (means - common).T).T
        picked, kept = self._factors()
        for c, (features, rows) in recent.items():
            picked[c], kept[c] = features, rows
        variances, directions = self._own_directions(shrunk, picked, kept, count)
        self.linear, step = fixed_point.to_8(linear)
        codes, steps = fixed_point.integers(directions, self._now.bits)
        self.along = fixed_point.pack(codes, self._now.bits)
        self.along_picked = factors.pick_bits(picked, self._now.width)
        self.steps = np.concatenate([step[:, None], steps], axis=1)
        # Of the rounded rows, so that at a class's mean nothing of their error is left.
        linear = fixed_point.floats(self.linear, step)
        directions = fixed_point.floats(codes, steps)
        bias = (linear * (means + common)).sum(axis=1) / 2 + np.log(variances).sum(axis=1) / 2
        at_mean = np.einsum("crv,cv->cr", directions, np.take_along_axis(means, picked, axis=1))
        self.offsets = np.concatenate([bias[:, None], at_mean], axis=1).astype(np.float32)

    def _own_directions(
        self, shrunk: Float32, picked: Int64, kept: Float32, count: Int64
    ) -> tuple[Array, Array]:
        """Of C classes: shrunk variances (C, R), and directions (C, R, V).

        The squares of a deviation's products with these, doubled, are what the class's own
        covariance takes off the squared distance by the shared one.
        """
        solved = factors.solve(shrunk, picked, kept)
        variances, directions = factors.diagonalised(kept, solved)
        # The whole weight is reached with as many samples of a class as features.
        own = self._options.class_weight * np.minimum(1, 2 * count / (count + kept.shape[2]))
        variances = np.maximum(1 + own[:, None] * (variances - 1), 1)
        return variances, directions * np.sqrt((1 - 1 / variances) / 2)[..., None]

    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Logarithms of densities, less what all classes have in common; equal priors."""
        rows = self.features(latents)
        scores: Float32 = rows @ self.linear.T.astype(np.float32)
        scores *= self.steps[:, 0]
        scores -= self.offsets[:, 0]
        if self._now.rank:
            along = self.published_directions()
            products = (rows @ along.reshape(-1, along.shape[2]).T).reshape(
                len(rows), *along.shape[:2]
            )
            products *= self.steps[:, 1:]
            products -= self.offsets[:, 1:]
            scores += np.square(products).sum(axis=2)
        return scores

    def published_directions(self) -> Float32:
        """(C, R, W) published directions, in units of their steps."""
        width, own = self._now[:2]
        picked = factors.read_picks(self.along_picked, width, own)
        codes = fixed_point.unpack(self.along, self._now.bits, own).astype(np.float32)
        return factors.spread(codes, picked, width)

    def held_out_scores(self, samples: Batch, scores: Float32) -> Float32 | None:
        """With each sample taken out of its class's mean and out of the shared covariance.

        The precision P without a deviation v of weight a is P + a P v v' P / (1 - a v' P v)
        (Sherman & Morrison 1950, eq. 1); directions of a class stay as they are.
        """
        sums, _, _ = self._sums()
        count, means, covariance, _ = sums
        shrunk, rows = self.shrunk(covariance, count), self.features(samples.latents)
        of_class = np.maximum(count[samples.classes], 2)
        away = rows - means[samples.classes]
        solved = np.linalg.solve(shrunk, away.T).T
        distance = np.einsum("nw,nw->n", solved, away)
        more = of_class / (of_class - 1)
        weight = (1 - self._identity_part(len(shrunk), count)) / max(int(count.sum()), 1)
        kept = np.maximum(1 - weight * more * distance, LEAST_KEPT)
        part = (1 - kept) / kept / np.maximum(distance, 1e-12)
        here = np.einsum("nw,nw->n", solved, rows)
        further = part[:, None] * (here[:, None] - solved @ means.T) ** 2
        own = np.arange(len(samples)), samples.classes
        further[own] = more**2 * distance / kept - distance
        # Scores are without what all classes have in common, which moves as well.
        further -= (part * (here - solved @ sums.common()) ** 2)[:, None]
        held_out: Float32 = (scores - further / 2).astype(np.float32)
        return held_out
