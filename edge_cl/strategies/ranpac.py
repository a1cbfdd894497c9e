"""RanPAC: random projection, then ridge regression on second-order statistics."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.equations import one_hot
from edge_cl.options import Options
from edge_cl.projection import StructuredProjection
from edge_cl.state import Role, Slot
from edge_cl.strategy import MemoryPlan, Strategy
from edge_cl.triangle import add_gram, packed_size, unpack
from edge_cl.types import Array, Batch, Float32, Float64

GRID = 10.0 ** np.arange(-6, 2)
"""Ridge candidates, as multiples of the mean diagonal of the Gram matrix."""

FIRST_RIDGE = 1e-3

FIRST_CHOICE_SAMPLES = 64
"""The ridge is chosen after this many samples, and whenever their number has doubled."""


class RanPACOptions(Options):
    """Options of RanPAC."""

    width: int = Field(1000, ge=8, le=20000, description="Random features M.")
    ridge: float | None = Field(
        None, gt=0, description="Ridge, relative to the features' mean square; null chooses it."
    )
    holdout_samples: int = Field(
        256, ge=16, le=65536, description="Exemplars on which the ridge is chosen."
    )
    codec: str = Field("uint8", description="How a holdout exemplar is stored.")
    precision: str = Field(
        "float32", pattern="^float(32|64)$", description="Type of the accumulated statistics."
    )


class RanPAC(Strategy):
    """Class prototypes in a random ReLU feature space, decorrelated by its Gram matrix.

    h = ReLU(R x); G accumulates h h', Q accumulates y h'; W = Q (G + lambda I)^-1 (McDonnell et
    al. 2023, eq. 2 and 4). Sums do not depend on the order of samples, so nothing is
    forgotten.
    """

    name: ClassVar[str] = "ranpac"
    paper: ClassVar[str] = "McDonnell et al. 2023, arXiv:2307.02251, eq. 2 and 4"
    options_type: ClassVar[type[Options]] = RanPACOptions
    subtracts: ClassVar[bool] = True
    forgetting: ClassVar[Literal["exact", "approximate"]] = "exact"

    gram: Array
    prototypes: Array
    ridge: Float64
    count: Array
    coefficients: Float32

    @property
    def _options(self) -> RanPACOptions:
        assert isinstance(self.options, RanPACOptions)
        return self.options

    def setup(self) -> None:
        """Draw the projection; its seed is all that has to be kept of it."""
        self.project = StructuredProjection(self.spec.dim, self._options.width, self.seed)

    def constants(self) -> dict[str, Array]:
        """Signs of the projection."""
        return {"signs": self.project.signs}

    def initialise(self) -> None:
        """The given ridge, or a middling one until enough samples were seen."""
        self.ridge[:] = self._options.ridge or FIRST_RIDGE

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """Triangle of the Gram matrix, class sums, and the chosen ridge."""
        width, precision = self._options.width, self._options.precision
        return {
            "gram": Slot((packed_size(width),), precision),
            "prototypes": Slot((classes, width), precision),
            "count": Slot((1,), np.int64),
            "ridge": Slot((1,), np.float64),
            "coefficients": Slot((classes, width), role=Role.DERIVED),
        }

    def memory_plans(self) -> dict[str, MemoryPlan]:
        """A balanced holdout, unless the ridge is given."""
        if self._options.ridge is not None:
            return {}
        return {
            "holdout": MemoryPlan(
                share=1.0,
                codec=self._options.codec,
                selection="class_balanced",
                samples=self._options.holdout_samples,
            )
        }

    def features(self, latents: Float32) -> Float64:
        """Random features (N, M) of normalised latents (eq. 2)."""
        return np.maximum(self.project(latents), np.float32(0)).astype(np.float64)

    def step(self, batch: Batch) -> float:
        """Nothing is iterated: `remember` adds each sample once."""
        return 0.0

    def remember(self, batch: Batch) -> None:
        """Add to G and Q; choose the ridge anew when the number of samples has doubled."""
        super().remember(batch)
        before = int(self.count[0])
        self.absorb(batch)
        if self.memories and _passes_a_doubling(before, int(self.count[0])):
            self.ridge[:] = self.best_ridge()

    @property
    def is_exact(self) -> bool:
        """Not once samples have chosen the ridge: that choice is not taken back."""
        chosen = int(self.count[0]) >= FIRST_CHOICE_SAMPLES or self.ridge[0] != FIRST_RIDGE
        return not self.memories or not chosen

    def absorb(self, batch: Batch) -> None:
        """Add to G and Q."""
        self._sum(batch, 1)

    def unlearn(self, batch: Batch) -> None:
        """Subtract from G and Q."""
        self._sum(batch, -1)

    def _sum(self, batch: Batch, sign: int) -> None:
        features = self.features(self.normalise(batch.latents))
        add_gram(self.gram, features, sign)
        np.add.at(self.prototypes, batch.classes, sign * features)
        self.count += sign * len(batch)

    def merge_class(self, cls: int, into: int) -> bool:
        """Add class sums, and the exemplars of the holdout."""
        self.prototypes[into] += self.prototypes[cls]
        for memory in self.memories.values():
            memory.merge_class(cls, into)
        return True

    def best_ridge(self) -> float:
        """Ridge of the least squared error on the holdout, by statistics without it.

        The holdout's own samples are part of the sums, and are taken out of them for the
        comparison, so that no sample is withheld from learning. From the last choice the
        search goes downhill over `GRID`: a system solved for each ridge looked at, instead
        of all eigenvectors, which take several times as long.
        """
        holdout = self.normalised(self.memories["holdout"].all())
        features = self.features(holdout.latents)
        targets = one_hot(holdout.classes, self.classes)
        gram = unpack(self.gram, self._options.width) - features.T @ features
        prototypes = self.prototypes - targets.T @ features
        diagonal = np.diagonal(gram).copy()
        scale = max(float(diagonal.mean()), 1e-12)

        @lru_cache
        def error(place: int) -> float:
            np.fill_diagonal(gram, diagonal + GRID[place] * scale)
            guesses = features @ np.linalg.solve(gram, prototypes.T)
            return float(np.square(guesses - targets).mean())

        last, best = -1, int(np.abs(np.log(GRID / self.ridge[0])).argmin())
        while best != last:
            last = best
            best = min(range(max(last - 1, 0), min(last + 2, len(GRID))), key=error)
        return float(GRID[best])

    def settle(self) -> None:
        """Solve for the class weights (eq. 4)."""
        width = self._options.width
        gram = unpack(self.gram, width)
        scale = float(np.trace(gram)) / width or 1.0
        gram[np.diag_indices(width)] += self.ridge[0] * scale
        self.coefficients = np.linalg.solve(gram, self.prototypes.T).T.astype(np.float32)

    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Regressed one-hot targets, (N, C)."""
        scores: Float32 = self.features(latents).astype(np.float32) @ self.coefficients.T
        return scores


def _passes_a_doubling(before: int, after: int) -> bool:
    return (
        after >= FIRST_CHOICE_SAMPLES
        and after.bit_length() > max(before, FIRST_CHOICE_SAMPLES // 2).bit_length()
    )
