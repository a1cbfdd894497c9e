"""Streaming linear discriminant analysis."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.options import Options
from edge_cl.state import Role, Slot
from edge_cl.strategy import Strategy
from edge_cl.triangle import add_gram, packed_size, unpack
from edge_cl.types import Array, Batch, Float32


class SLDAOptions(Options):
    """Options of SLDA."""

    shrinkage: float = Field(
        1e-2, gt=0, le=1, description="Weight of the identity in the covariance's inverse."
    )
    precision: str = Field(
        "float32", pattern="^float(32|64)$", description="Type of the accumulated scatter."
    )


class SLDA(Strategy):
    """Class means and one shared covariance, updated one sample at a time.

    Each sample updates the covariance around its class's mean before that mean moves
    (Hayes & Kanan 2020, eq. 2 and 3), and W = Lambda mu, b = -mu' Lambda mu / 2 with
    Lambda = [(1 - eps) Sigma + eps s I]^-1 (eq. 4 to 6).
    """

    name: ClassVar[str] = "slda"
    paper: ClassVar[str] = "Hayes & Kanan 2020, arXiv:1909.01520, eq. 2 to 6"
    options_type: ClassVar[type[Options]] = SLDAOptions
    subtracts: ClassVar[bool] = True
    forgetting: ClassVar[Literal["exact", "approximate"]] = "exact"

    mean: Array
    count: Array
    scatter: Array
    coefficients: Float32
    intercepts: Float32

    @property
    def _options(self) -> SLDAOptions:
        assert isinstance(self.options, SLDAOptions)
        return self.options

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """Means, counts, and the scatter matrix's upper triangle."""
        dim = self.spec.dim
        return {
            "mean": Slot((classes, dim), np.float64),
            "count": Slot((classes,), np.int64),
            "scatter": Slot((packed_size(dim),), self._options.precision),
            "coefficients": Slot((classes, dim), role=Role.DERIVED),
            "intercepts": Slot((classes,), role=Role.DERIVED),
        }

    def step(self, batch: Batch) -> float:
        """Nothing is iterated: `remember` adds each sample once."""
        return 0.0

    def remember(self, batch: Batch) -> None:
        """Add every sample: to the scatter around its class's mean, then to that mean."""
        deviations = np.empty((len(batch), self.spec.dim), dtype=np.float64)
        latents = self.normalise(batch.latents).astype(np.float64)
        for row, (latent, c) in enumerate(zip(latents, batch.classes, strict=True)):
            seen = int(self.count[c])
            step = latent - self.mean[c]
            deviations[row] = step * np.sqrt(seen / (seen + 1))
            self.mean[c] += step / (seen + 1)
            self.count[c] += 1
        add_gram(self.scatter, deviations)

    absorb = remember

    def unlearn(self, batch: Batch) -> None:
        """Take every sample off its class's mean, then out of the scatter around that mean."""
        deviations = np.empty((len(batch), self.spec.dim), dtype=np.float64)
        latents = self.normalise(batch.latents).astype(np.float64)
        for row, (latent, c) in enumerate(zip(latents, batch.classes, strict=True)):
            left = int(self.count[c]) - 1
            self.mean[c] -= (latent - self.mean[c]) / max(left, 1)
            deviations[row] = (latent - self.mean[c]) * np.sqrt(left / (left + 1))
            self.count[c] = left
            if not left:
                self.mean[c] = 0
        add_gram(self.scatter, deviations, -1)

    def clear_class(self, cls: int) -> None:
        """Also leave the covariance as it is, where samples of the class are still in it."""
        before = max(int(self.count.sum()), 1)
        super().clear_class(cls)
        self.scatter *= self.scatter.dtype.type(self.count.sum() / before)

    def merge_class(self, cls: int, into: int) -> bool:
        """Pool the means; what lies between them goes to the scatter."""
        moved, had = int(self.count[cls]), int(self.count[into])
        apart = self.mean[cls] - self.mean[into]
        add_gram(self.scatter, (apart * np.sqrt(moved * had / max(moved + had, 1)))[None])
        self.mean[into] += apart * (moved / max(moved + had, 1))
        self.count[into] += moved
        self.count[cls] = 0
        return True

    def covariance(self) -> Array:
        """Shared covariance (D, D): the scatter over the number of samples."""
        total = max(int(self.count.sum()), 1)
        return unpack(self.scatter, self.spec.dim) / total

    def settle(self) -> None:
        """Solve for the discriminants (eq. 4 to 6)."""
        covariance, shrinkage = self.covariance(), self._options.shrinkage
        dim = self.spec.dim
        size = float(np.trace(covariance)) / dim or 1.0
        covariance *= 1 - shrinkage
        covariance[np.diag_indices(dim)] += shrinkage * size
        solved = np.linalg.solve(covariance, self.mean.T).T
        self.coefficients = solved.astype(np.float32)
        self.intercepts = (-0.5 * (solved * self.mean).sum(axis=1)).astype(np.float32)

    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Linear discriminants, (N, C); equal priors."""
        return latents @ self.coefficients.T + self.intercepts
